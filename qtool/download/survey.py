"""What is in the target already: verified, unknown, or missing."""

import threading
from collections.abc import Sequence

from qtool.download.digests import hash_file
from qtool.download.disk import disk_errors
from qtool.download.events import Checking, FileResult, FileStatus, OnEvent
from qtool.download.layout import place_of
from qtool.download.prefixes import NotingDigest
from qtool.download.target import Target, size_and_mtime
from qtool.hub.repo import RemoteFile

# Hashing less than this is over before anyone wonders what is going on.
WORTH_TELLING_BYTES = 64 * 1024 * 1024


class Surveyor:
    """Tells the files in place from the others."""

    def __init__(self, target: Target, on_event: OnEvent, stop: threading.Event) -> None:
        self._target = target
        self._on_event = on_event
        self._stop = stop

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
        target = self._target
        if target.is_known(file):
            entry = target.manifest.find(file.path)
            # Without a digest only the commit tells whether the content is still the same.
            if file.digest is not None or (entry and entry.commit == target.listing.commit):
                if not target.is_alone_with(file):
                    target.adopt(file)
                return FileStatus.SKIPPED
        if file.digest is None or not self._is_right(file):
            return None
        target.adopt(file)
        return FileStatus.VERIFIED

    def keep(self, file: RemoteFile) -> None:
        """Remember a file that was found right, unless it is known. Raises ResourceError."""
        if not self._target.is_known(file):
            self._target.adopt(file)

    def _is_right(self, file: RemoteFile) -> bool:
        """Return whether a file of unknown origin is what the hub lists, and note how it begins."""
        path = place_of(file, self._target.layout)
        found = size_and_mtime(path)
        if found is None or found[0] != file.size_bytes:
            return False
        if file.size_bytes > WORTH_TELLING_BYTES:
            self._on_event(Checking(file.path, file.size_bytes))
        digest = NotingDigest(file)
        with disk_errors(path):
            if not hash_file(path, digest, self._stop):
                raise KeyboardInterrupt
        if digest.hexdigest() != file.digest:
            return False
        self._target.prefixes.add(file, digest.prefixes())
        return True
