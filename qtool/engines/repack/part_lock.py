"""One writer at a time: a lock on the unfinished file itself, let go of when its process ends."""

import sys
from pathlib import Path
from typing import BinaryIO

if sys.platform == "win32":

    def try_lock(file: BinaryIO) -> bool:
        """Take the lock of an open file; nothing is locked on Windows."""
        return True

else:
    import fcntl

    def try_lock(file: BinaryIO) -> bool:
        """Take the lock of an open file; False if another process, or an other open, has it."""
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def is_being_written(path: Path) -> bool:
    """Tell whether somebody holds the lock of ``path``."""
    with path.open("rb") as file:
        return not try_lock(file)
