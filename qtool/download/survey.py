"""What is in the target already: verified, unknown, or missing."""

import threading
from collections.abc import Sequence
from pathlib import Path

from qtool.download.blocks import BlockDigest, BlockStore
from qtool.download.digests import hash_file
from qtool.download.disk import disk_errors
from qtool.download.events import Checking, FileResult, FileStatus, OnEvent
from qtool.download.finish import verified_entry
from qtool.download.layout import Layout, place_of
from qtool.download.manifest import Manifest
from qtool.hub.repo import RemoteFile

# Hashing less than this is over before anyone wonders what is going on.
WORTH_TELLING_BYTES = 64 * 1024 * 1024


class Surveyor:
    """Tells the files in place from the others."""

    def __init__(
        self,
        layout: Layout,
        manifest: Manifest,
        commit: str,
        on_event: OnEvent,
        stop: threading.Event,
    ) -> None:
        self._layout = layout
        self._manifest = manifest
        self._commit = commit
        self._on_event = on_event
        self._stop = stop
        self._blocks = BlockStore(layout.state_dir)

    def survey(
        self, files: Sequence[RemoteFile]
    ) -> tuple[tuple[FileResult, ...], tuple[RemoteFile, ...]]:
        """Return the files in place and those to fetch; files of unknown origin are hashed once.

        Raises ResourceError when the target cannot be read, or its manifest not be written.
        """
        present, missing = [], []
        for file in files:
            status = self._status(file)
            if status is None:
                missing.append(file)
            else:
                present.append(FileResult.of(file, status))
        return tuple(present), tuple(missing)

    def _status(self, file: RemoteFile) -> FileStatus | None:
        manifest = self._manifest
        if is_known(file, self._layout, manifest):
            entry = manifest.find(file.path)
            # Without a digest only the commit tells whether the content is still the same.
            if file.digest is not None or (entry and entry.commit == self._commit):
                return FileStatus.SKIPPED
        if file.digest is None or not self._is_right(file):
            return None
        self._note(file)
        return FileStatus.VERIFIED

    def keep(self, file: RemoteFile) -> None:
        """Remember a file that was found right, unless it is known. Raises ResourceError."""
        if not is_known(file, self._layout, self._manifest):
            self._note(file)

    def _note(self, file: RemoteFile) -> None:
        with disk_errors(self._layout.final_path(file)):
            self._layout.adopt(file)
            self._manifest.add(verified_entry(self._layout, file, self._commit))

    def _is_right(self, file: RemoteFile) -> bool:
        """Return whether a file of unknown origin is what the hub lists; if so, note its blocks."""
        path = place_of(file, self._layout)
        found = _size_and_mtime(path)
        if found is None or found[0] != file.size_bytes:
            return False
        if file.size_bytes > WORTH_TELLING_BYTES:
            self._on_event(Checking(file.path, file.size_bytes))
        digest = BlockDigest(file)
        with disk_errors(path):
            if not hash_file(path, digest, self._stop):
                raise KeyboardInterrupt
        if digest.hexdigest() != file.digest:
            return False
        self._blocks.add(file, digest.block_sums())
        return True


def is_known(file: RemoteFile, layout: Layout, manifest: Manifest) -> bool:
    """Return whether the file is in place and was verified in the state it is in."""
    entry = manifest.find(file.path)
    if entry is None or entry.digest != file.digest or entry.size != file.size_bytes:
        return False
    return _size_and_mtime(layout.final_path(file)) == (entry.size, entry.mtime_ns)


def _size_and_mtime(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_size, status.st_mtime_ns
