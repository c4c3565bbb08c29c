"""One qtool at a time on an environment."""

import os
import sys
import time
from pathlib import Path
from types import TracebackType

from qtool.errors import ResourceError

PATIENCE_S = 3.0
"""How long an installer may take to die after the qtool that ran it."""
POLL_S = 0.1


class EnvironmentLock:
    """A lock that the system releases when its holder, and the installer it runs, are dead."""

    def __init__(self, path: Path, what: str, *, patience_s: float = PATIENCE_S) -> None:
        """Prepare a lock on ``what`` (words for the refusal) by means of the file ``path``."""
        self._path = path
        self._what = what
        self._patience_s = patience_s
        self.fd = -1

    def __enter__(self) -> "EnvironmentLock":
        """Take the lock. Raises ResourceError with the holder's process id when it is taken."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self.fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._take()
        except OSError as exc:
            holder = os.read(self.fd, 32).decode("ascii", "replace").strip()
            os.close(self.fd)
            raise ResourceError(
                f"another qtool (process {holder or 'unknown'}) is at work on {self._what}",
                hint="wait for it to end, then run the same command again",
            ) from exc
        os.ftruncate(self.fd, 0)
        os.write(self.fd, str(os.getpid()).encode("ascii"))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release the lock. The file stays: removing it would let two processes hold it."""
        os.ftruncate(self.fd, 0)
        os.close(self.fd)

    def _take(self) -> None:
        until = time.monotonic() + self._patience_s
        while True:
            try:
                _lock(self.fd)
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(POLL_S)
            else:
                return


if sys.platform == "win32":

    def _lock(fd: int) -> None:
        import msvcrt

        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)

else:

    def _lock(fd: int) -> None:
        import fcntl

        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
