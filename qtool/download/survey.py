"""What is in the target already: verified, unknown, or missing."""

import threading
from collections.abc import Sequence
from pathlib import Path

from qtool.download.digests import digest_of
from qtool.download.disk import disk_errors
from qtool.download.events import Checking, FileResult, FileStatus, OnEvent
from qtool.download.finish import verified_entry
from qtool.download.layout import Layout
from qtool.download.manifest import Manifest
from qtool.errors import IntegrityError
from qtool.hub.repo import RemoteFile

# Hashing less than this is over before anyone wonders what is going on.
_WORTH_TELLING_BYTES = 64 * 1024 * 1024


class Surveyor:
    """Tells the files in place from the others; ``manifest`` None trusts no earlier run."""

    def __init__(
        self,
        layout: Layout,
        manifest: Manifest | None,
        commit: str,
        on_event: OnEvent,
        stop: threading.Event,
    ) -> None:
        self._layout = layout
        self._manifest = manifest
        self._commit = commit
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

    def verify(self, files: Sequence[RemoteFile]) -> tuple[FileResult, ...]:
        """Hash every file in place; the results of wrong ones carry the error."""
        results = []
        for file in files:
            error = self._objection(file)
            status = FileStatus.FAILED if error else FileStatus.VERIFIED
            results.append(FileResult.of(file, status, error))
        return tuple(results)

    def _status(self, file: RemoteFile) -> FileStatus | None:
        manifest = self._manifest
        if manifest is not None and is_known(file, self._layout, manifest):
            entry = manifest.find(file.path)
            # Without a digest only the commit tells whether the content is still the same.
            if file.digest is not None or (entry and entry.commit == self._commit):
                return FileStatus.SKIPPED
        if file.digest is None or self._objection(file) is not None:
            return None
        with disk_errors(self._layout.final_path(file)):
            self._layout.adopt(file)
            if manifest is not None:
                manifest.add(verified_entry(self._layout, file, self._commit))
        return FileStatus.VERIFIED

    def _objection(self, file: RemoteFile) -> IntegrityError | None:
        """Return what is wrong with a file in place, None when it is right."""
        path = self._layout.content_path(file)
        found = _size_and_mtime(path)
        if found is None:
            return IntegrityError(f"{file.path}: not there")
        if found[0] != file.size_bytes:
            return IntegrityError(f"{file.path}: {found[0]} bytes, the hub says {file.size_bytes}")
        if file.size_bytes > _WORTH_TELLING_BYTES:
            self._on_event(Checking(file.path, file.size_bytes))
        with disk_errors(path):
            actual = digest_of(path, file, self._stop)
        if actual is None:
            raise KeyboardInterrupt
        if file.digest is not None and actual != file.digest:
            return IntegrityError(
                f"{file.path}: its digest is {actual}, the hub says {file.digest}"
            )
        return None


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
