"""The target of a download: where the files of a commit belong, and what is right there already."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from qtool.download.disk import disk_errors
from qtool.download.layout import Layout
from qtool.download.manifest import NEVER_NS, Manifest, Verified
from qtool.download.partials import repo_key
from qtool.download.prefixes import PrefixStore
from qtool.hub.repo import Listing, RemoteFile


@dataclass(frozen=True, slots=True)
class Target:
    """A listing's place on the disk, with qtool's own notes about it. Thread-safe.

    ``manifest`` says which files were found right, ``prefixes`` how they begin.
    """

    listing: Listing
    layout: Layout
    manifest: Manifest
    prefixes: PrefixStore

    @classmethod
    def open(cls, listing: Listing, layout: Layout) -> "Target":
        """Return the target with the notes that are there. Creates nothing."""
        state_dir = layout.state_dir
        return cls(listing, layout, Manifest(state_dir / "manifest"), PrefixStore(state_dir))

    def is_known(self, file: RemoteFile) -> bool:
        """Return whether the file is in place and was verified in the state it is in."""
        entry = self.manifest.find(file.path)
        if entry is None or entry.digest != file.digest or entry.size != file.size_bytes:
            return False
        return size_and_mtime(self.layout.final_path(file)) == (entry.size, entry.mtime_ns)

    def is_alone_with(self, file: RemoteFile) -> bool:
        """Return whether a file is not noted as one that was fetched for another repository."""
        entry = self.manifest.find(file.path)
        return entry is None or entry.fetched_from in (None, repo_key(self.listing))

    def publish(self, content: Path, file: RemoteFile) -> None:
        """Give verified and synced content its final name. Raises ResourceError."""
        with disk_errors(self.layout.final_path(file)):
            self.layout.publish(content, file)
            self._note(file, is_fetched=True)

    def adopt(self, file: RemoteFile) -> None:
        """Take a file for right whose content is in place and verified. Raises ResourceError."""
        with disk_errors(self.layout.final_path(file)):
            self.layout.adopt(file)
            self._note(file, is_fetched=False)

    def disown(self, file: RemoteFile) -> None:
        """Note that what comes of a file about to be mended is not qtool's, unless the file is.

        It will have bytes that qtool did not fetch. Raises OSError.
        """
        if self._fetched_from(file, is_fetched=False) is None:
            size, commit = file.size_bytes, self.listing.commit
            self.manifest.add(Verified(file.path, size, NEVER_NS, file.digest, commit))

    def by_content(self, files: Iterable[RemoteFile]) -> dict[Path, RemoteFile]:
        """Return the first file of each content: in a cache, files of the same content are one."""
        first: dict[Path, RemoteFile] = {}
        for file in files:
            first.setdefault(self.layout.content_path(file), file)
        return first

    def _note(self, file: RemoteFile, *, is_fetched: bool) -> None:
        status = self.layout.final_path(file).stat()
        self.manifest.add(
            Verified(
                file.path,
                status.st_size,
                status.st_mtime_ns,
                file.digest,
                self.listing.commit,
                self._fetched_from(file, is_fetched=is_fetched),
            )
        )

    def _fetched_from(self, file: RemoteFile, *, is_fetched: bool) -> str | None:
        """Return this repository's key if the file is qtool's to remove, None in doubt.

        Content that was there before, or was fetched for another repository, is not this one's.
        """
        own, before = repo_key(self.listing), self.manifest.find(file.path)
        is_same = before is not None and before.digest == file.digest
        if before is None or not is_same or before.fetched_from == own:
            return own if is_fetched or is_same else None
        return own if is_fetched and before.mtime_ns != NEVER_NS else None


def size_and_mtime(path: Path) -> tuple[int, int] | None:
    """Return a file's size and modification time in nanoseconds, None without it."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_size, status.st_mtime_ns
