"""One qtool at a time: locks on files, which the system releases when their holder dies."""

import contextlib
import os
import sys
import time
from pathlib import Path
from types import TracebackType

from qtool.errors import ResourceError
from qtool.language.message import say

POLL_S = 0.1


class ProcessLock:
    """A lock that is held as long as its holder, or a child that inherits ``fd``, is alive."""

    def __init__(self, path: Path, work: str, *, patience_s: float = 0.0) -> None:
        """Prepare a lock by means of the file ``path``; ``work`` is what its holder is doing."""
        self._path = path
        self._work = work
        self._patience_s = patience_s
        self.fd = -1

    def __enter__(self) -> "ProcessLock":
        """Take the lock.

        Raises ResourceError with the holder's process id when it is taken, OSError when there can
        be no such file.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self.fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        if not self._take():
            holder = os.read(self.fd, 32).decode("ascii", "replace").strip()
            os.close(self.fd)
            raise ResourceError(
                say(
                    "another qtool (process {process}) is {work}",
                    process=holder or say("unknown"),
                    work=self._work,
                ),
                hint=say("wait for it to end, then run the same command again"),
            )
        # On a full disk the lock holds without saying whose it is.
        with contextlib.suppress(OSError):
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

    def _take(self) -> bool:
        until = time.monotonic() + self._patience_s
        while not try_lock(self.fd):
            if time.monotonic() >= until:
                return False
            time.sleep(POLL_S)
        return True


if sys.platform == "win32":

    def try_lock(fd: int) -> bool:
        """Lock an open file; return False when another open of it holds the lock."""
        import msvcrt

        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:

    def try_lock(fd: int) -> bool:
        """Lock an open file; return False when another open of it holds the lock."""
        import fcntl

        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
