"""Where other programs write, until the content is verified: one folder in the target's state."""

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from qtool.download.disk import disk_errors, size_on_disk
from qtool.download.partials import identity_of, repo_key
from qtool.download.request import Backend
from qtool.errors import ResourceError
from qtool.hub.repo import Listing, RemoteFile
from qtool.locks import try_lock

FOLDER = "staging"
LOCK = "staging.lock"
CLAIM_TIMEOUT_S = 10.0
POLL_S = 0.05


class Staging:
    """The unverified files of a backend, named by repository, path and digest.

    So what an earlier run left is taken up only for the very same content.
    """

    def __init__(self, state_dir: Path, listing: Listing, backend: Backend) -> None:
        self.folder = state_dir / FOLDER
        self._lock_path = state_dir / LOCK
        self._listing = listing
        self._backend = backend
        self._prefix = short_hash(repo_key(listing))

    def path(self, file: RemoteFile) -> Path:
        """Return where the bytes of a file are collected."""
        identity = identity_of(self._listing, file)
        content = f"{identity.path}\0{identity.size}\0{identity.key}"
        return self.folder / f"{self._prefix}-{short_hash(content)}.{self._backend}"

    def notes(self, file: RemoteFile) -> Path:
        """Return where aria2c notes which bytes are there; without it they are worth nothing."""
        path = self.path(file)
        return path.with_name(f"{path.name}.aria2")

    def bytes_left(self, file: RemoteFile) -> int:
        """Return how many bytes an earlier run left that can be built upon."""
        is_noted = self.notes(file).exists()
        return size_on_disk(self.path(file)) if is_noted or self.is_complete(file) else 0

    def is_complete(self, file: RemoteFile) -> bool:
        """Return whether all bytes are there, of which it remains to be seen if they are right."""
        return size_on_disk(self.path(file)) == file.size_bytes and not self.notes(file).exists()

    def discard(self, file: RemoteFile) -> None:
        """Remove what is there of a file. Raises ResourceError."""
        with disk_errors(self.folder):
            self.path(file).unlink(missing_ok=True)
            self.notes(file).unlink(missing_ok=True)

    def remove_orphans(self) -> None:
        """Remove what no order of this backend can take up, and the folder when it is empty.

        What belongs to other repositories, which may share the target, stays.
        """
        if not self.folder.is_dir():
            return
        known: set[Path] = set()
        if self._backend is not Backend.NATIVE:
            for file in self._listing.files:
                known |= {self.path(file), self.notes(file)}
        with disk_errors(self.folder):
            for path in self.folder.glob(f"{self._prefix}-*"):
                if path not in known:
                    path.unlink(missing_ok=True)
        self.remove_if_empty()

    def remove_if_empty(self) -> None:
        """Remove the folder unless something is kept there for the next run."""
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    @contextlib.contextmanager
    def claimed(self, stop: threading.Event) -> Iterator[int]:
        """Hold the folder's lock, and yield the descriptor that holds it, for children to inherit.

        A child that outlives a qtool which was killed keeps it until its own end, in a second or
        two. Raises ResourceError when it is not free for longer, KeyboardInterrupt on ``stop``.
        """
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            fd = os.open(self._lock_path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._await(fd, stop)
            yield fd
        finally:
            os.close(fd)

    def _await(self, fd: int, stop: threading.Event) -> None:
        due_s = time.monotonic() + CLAIM_TIMEOUT_S
        while not try_lock(fd):
            if time.monotonic() > due_s:
                raise ResourceError(
                    f"an earlier run's program still writes to {self.folder}",
                    hint="end it, then run the same command again",
                )
            if stop.wait(POLL_S):
                raise KeyboardInterrupt


def short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
