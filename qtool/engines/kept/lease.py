"""Who uses a kept engine: a lock that the system releases when its holder dies, however it dies."""

import os
import time
from pathlib import Path

from qtool.locks import try_lock

PATIENCE_S = 0.5
"""The engine's holder takes the lock for an instant now and then, to see whether it is free."""

POLL_S = 0.02


class Lease:
    """The right to use the engine of one model, for one conversation at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def take(self, patience_s: float = PATIENCE_S) -> bool:
        """Take it; tell whether that succeeded. The folder must exist."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        until = time.monotonic() + patience_s
        while not try_lock(fd):
            if time.monotonic() >= until:
                os.close(fd)
                return False
            time.sleep(POLL_S)
        self._fd = fd
        return True

    def release(self) -> None:
        """Give it back. May be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def is_free(self) -> bool:
        """Tell whether nobody has it."""
        if not self.take(0):
            return False
        self.release()
        return True
