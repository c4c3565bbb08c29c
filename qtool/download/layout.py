"""Where files go: a plain folder, or the Hugging Face cache.

State of qtool's own (lock, manifest, partial files) lies in ``.cache/qtool`` of the target, beside
the ``.cache/huggingface`` of ``hf download --local-dir``, whose notes are written as well.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from qtool.download.disk import create_file, move_file
from qtool.errors import UsageError
from qtool.hub.repo import Listing, RemoteFile
from qtool.models.refetch import SOURCE_FILE
from qtool.models.repo_names import check_revision

log = logging.getLogger(__name__)

STATE_FOLDER = Path(".cache") / "qtool"
# Folders of clients that people upload by accident; never files of a model.
CLIENT_FOLDERS = (".cache/qtool/", ".cache/huggingface/")


class Layout(Protocol):
    """A target folder. Paths of files in it are ``str`` with ``/``, as the hub names them."""

    root: Path
    state_dir: Path

    def final_path(self, file: RemoteFile) -> Path:
        """Return where the user finds the file."""

    def content_path(self, file: RemoteFile) -> Path:
        """Return where the bytes are kept."""

    def publish(self, part: Path, file: RemoteFile) -> None:
        """Give verified and synced content its final name, atomically. Raises OSError."""

    def adopt(self, file: RemoteFile) -> None:
        """Note a file that was found in place and verified. Raises OSError."""

    def noted_digest(self, file: RemoteFile) -> str | None:
        """Return the digest that another client noted when it fetched the file."""

    def noted_commit(self) -> str | None:
        """Return the commit that the revision stood for when it was fetched last."""

    def finish(self) -> None:
        """Do what is to be done when all files are in place. Raises OSError."""


class FolderLayout:
    """The repository's own tree under a folder of the user's choice."""

    def __init__(self, root: Path, listing: Listing) -> None:
        self.root = root
        self.state_dir = root / STATE_FOLDER
        self._commit = listing.commit
        self._repo = listing.repo
        self._is_source_noted = False

    def final_path(self, file: RemoteFile) -> Path:
        """Return the path under the folder."""
        return self.root / file.path

    def content_path(self, file: RemoteFile) -> Path:
        """Return the same path: the file itself."""
        return self.final_path(file)

    def publish(self, part: Path, file: RemoteFile) -> None:
        """Rename, and leave the note by which ``hf download`` knows the file."""
        move_file(part, self.final_path(file))
        self.adopt(file)

    def adopt(self, file: RemoteFile) -> None:
        """Write the note of huggingface_hub: commit, ETag, time. The file is right without it.

        Format: ``huggingface_hub/_local_folder.py``. There is none for names of more than 246
        bytes, nor for ``a`` beside ``a.metadata/b``.
        """
        self._note_source()
        if file.digest is None:
            return
        text = f"{self._commit}\n{file.digest}\n{time.time()}\n"
        try:
            create_file(self._note_path(file), text.encode("utf-8"), is_synced=False)
        except OSError as exc:
            log.debug("%s: no note for huggingface_hub: %s", file.path, exc)

    def _note_source(self) -> None:
        """Note what repository the files are from: `qtool chat` names it where one is damaged."""
        if self._is_source_noted:
            return
        self._is_source_noted = True
        noted = {"repo_id": self._repo.repo_id, "revision": self._repo.revision}
        try:
            create_file(self.root / SOURCE_FILE, json.dumps(noted).encode(), is_synced=False)
        except OSError as exc:
            log.debug("%s: no note of the repository: %s", self.root, exc)

    def noted_digest(self, file: RemoteFile) -> str | None:
        """Return the ETag of huggingface_hub's note, None when there is none."""
        try:
            lines = self._note_path(file).read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            return None
        return lines[1] if len(lines) > 1 else None

    def noted_commit(self) -> str | None:
        """Return None: the manifest tells."""
        return None

    def _note_path(self, file: RemoteFile) -> Path:
        return self.root / f".cache/huggingface/download/{file.path}.metadata"

    def finish(self) -> None:
        """Keep the state out of a git repository that the folder may be, if the disk takes it."""
        for folder in (self.state_dir, self.root / ".cache/huggingface"):
            ignore = folder / ".gitignore"
            try:
                # One of no bytes is what a full disk has left.
                if folder.is_dir() and not (ignore.exists() and ignore.stat().st_size):
                    ignore.write_text("*\n", encoding="ascii")
            except OSError as exc:
                log.debug("%s: %s", ignore, exc)


class CacheLayout:
    """The cache that ``from_pretrained`` reads: ``blobs``, ``snapshots``, ``refs``.

    https://huggingface.co/docs/huggingface_hub/guides/manage-cache
    """

    def __init__(self, cache: Path, listing: Listing) -> None:
        """Raise UsageError for a revision that could not be a file's name below ``refs``."""
        repo = listing.repo
        check_revision(repo.revision, f"{repo.repo_id}@{repo.revision}")
        folder = "--".join([f"{repo.repo_type.value}s", *repo.repo_id.split("/")])
        self._folder = cache / folder
        self._listing = listing
        self.root = self._folder / "snapshots" / listing.commit
        self.state_dir = self._folder / STATE_FOLDER

    def final_path(self, file: RemoteFile) -> Path:
        """Return the path in the snapshot."""
        return self.root / file.path

    def content_path(self, file: RemoteFile) -> Path:
        """Return the blob, named by its digest; without one the snapshot holds the file itself."""
        if file.digest is None:
            return self.final_path(file)
        return self._folder / "blobs" / file.digest

    def publish(self, part: Path, file: RemoteFile) -> None:
        """Rename to the blob and link it into the snapshot, in place of what is there."""
        blob = self.content_path(file)
        move_file(part, blob)
        if blob != self.final_path(file):
            self._link(file)

    def adopt(self, file: RemoteFile) -> None:
        """Link the blob into the snapshot, unless the snapshot holds the file itself."""
        if place_of(file, self) != self.final_path(file):
            self._link(file)

    def _link(self, file: RemoteFile) -> None:
        """Link the blob relatively, so that the cache may be moved. Raises OSError."""
        blob, final = self.content_path(file), self.final_path(file)
        final.parent.mkdir(parents=True, exist_ok=True)
        target = os.path.relpath(blob, final.parent)
        if final.is_symlink() and str(final.readlink()) == target:
            return
        # Among the files of the snapshot any name may be taken, or too long by a suffix.
        name = hashlib.sha256(file.path.encode()).hexdigest()[:32]
        fresh = self.state_dir / f"{name}.link"
        fresh.parent.mkdir(parents=True, exist_ok=True)
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target)
        fresh.replace(final)

    def noted_digest(self, file: RemoteFile) -> str | None:
        """Return None: here a file's name is its digest."""
        return None

    def noted_commit(self) -> str | None:
        """Return what the revision's name points to, None for a commit or an unknown name."""
        try:
            return self._ref_path.read_text(encoding="ascii").strip() or None
        except (OSError, UnicodeDecodeError):
            return None

    @property
    def _ref_path(self) -> Path:
        return self._folder / "refs" / self._listing.repo.revision

    def finish(self) -> None:
        """Let the revision's name point to the commit."""
        revision = self._listing.repo.revision
        if revision == self._listing.commit:
            return
        ref = self._ref_path
        ref.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.state_dir / "ref.new"
        fresh.write_text(self._listing.commit, encoding="ascii")
        fresh.replace(ref)


def place_of(file: RemoteFile, layout: Layout) -> Path:
    """Return where the bytes lie that a file's user sees.

    In a cache that is the blob, unless something else than a link to it has taken its place in the
    snapshot: an editor's new file, or the file itself where a disk has no links.
    """
    content, final = layout.content_path(file), layout.final_path(file)
    if content == final or not content.exists():
        return final
    return final if final.exists() and not final.samefile(content) else content


def is_state_of_client(path: str) -> bool:
    """Return whether a file of a repository lies where a client keeps its state.

    Case is ignored, as some file systems do.
    """
    return f"{path.casefold()}/".startswith(CLIENT_FOLDERS)


def check_folders(layout: Layout, files: Iterable[RemoteFile]) -> None:
    """Raise UsageError where a file stands in the way of the target's folder or of its state.

    ``files`` are those to come, of which one may be about to.
    """
    root = layout.root
    own = {p.relative_to(root).as_posix() for p in layout.state_dir.parents if root in p.parents}
    for file in files:
        if file.path in own:
            raise UsageError(
                f"{file.path!r} is a file of the repository and a folder of the target, "
                f"for {layout.state_dir}",
                hint=f"leave it out: --exclude {file.path}; or download into the cache: --cache",
            )
    for folder in (layout.state_dir, *layout.state_dir.parents):
        # os.path, because pathlib raises where a parent may not be entered.
        if os.path.exists(folder) and not os.path.isdir(folder):  # noqa: PTH110, PTH112
            raise UsageError(
                f"{folder} is a file where a folder is needed, for {layout.state_dir}",
                hint="move it away, or choose another folder: --local-dir DIR",
            )


def choose_layout(
    listing: Listing, *, local_dir: Path | None, cache: Path | None
) -> FolderLayout | CacheLayout:
    """Return the cache's layout when asked for, else a folder: ``local_dir`` or ``./<name>``."""
    if cache is not None:
        return CacheLayout(cache, listing)
    name = listing.repo.repo_id.rpartition("/")[2]
    return FolderLayout(local_dir if local_dir is not None else Path(name), listing)
