"""One qtool at a time on a target folder."""

import contextlib
import os
import sys
from pathlib import Path
from types import TracebackType

from qtool.download.disk import disk_errors
from qtool.errors import ResourceError


class TargetLock:
    """A lock on a target, released by the system when its holder dies."""

    def __init__(self, path: Path, target: Path) -> None:
        self._path = path
        self._target = target
        self._fd = -1

    def __enter__(self) -> "TargetLock":
        """Take the lock. Raises ResourceError with the holder's process id when it is taken."""
        with disk_errors(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(self._fd)
        except OSError as exc:
            holder = os.read(self._fd, 32).decode("ascii", "replace").strip()
            os.close(self._fd)
            raise ResourceError(
                f"another qtool (process {holder or 'unknown'}) is downloading into {self._target}",
                hint="wait for it to end, then run the same command again",
            ) from exc
        # On a full disk the lock holds without saying whose it is.
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, 0)
            os.write(self._fd, str(os.getpid()).encode("ascii"))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release the lock. The file stays: removing it would let two processes hold it."""
        os.ftruncate(self._fd, 0)
        os.close(self._fd)


if sys.platform == "win32":

    def _lock(fd: int) -> None:
        import msvcrt

        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)

else:

    def _lock(fd: int) -> None:
        import fcntl

        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
