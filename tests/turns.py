"""Tests run beside one another, but for those marked ``alone``, which measure time or memory.

Each pytest process (``-n 2``) holds a lock while a test runs: shared, or exclusive for a test that
is to be alone on the machine. A gate before it keeps a steady flow of others from starving that.
"""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def turn(folder: Path, *, is_alone: bool) -> Iterator[None]:
    """Wait for this test's turn, and hold it."""
    with (folder / "gate").open("w") as gate, (folder / "floor").open("w") as floor:
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(floor, fcntl.LOCK_EX if is_alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        yield
