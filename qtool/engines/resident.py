"""How far an engine is that does not say so: by how much of the model is in its memory.

Linux alone tells (proc_pid_statm(5)). Weights that are mapped count as they are read, and those
that are copied count twice in the end, so this errs on the side of being early.
"""

import os
from pathlib import Path

from qtool.engines.base import Progress

MAX_FRACTION = 0.99
"""Whether all is done is for the engine to say."""


def estimate_progress(pid: int, weights_bytes: int, proc: Path = Path("/proc")) -> Progress | None:
    """Return how much of the weights the process ``pid`` holds; ``None`` where nobody tells."""
    resident = resident_bytes(pid, proc)
    if resident is None:
        return None
    return Progress("weights", min(MAX_FRACTION, resident / weights_bytes))


def resident_bytes(pid: int, proc: Path = Path("/proc")) -> int | None:
    """Return how much of a process is in memory; ``None`` where that is not told."""
    try:
        pages = int((proc / str(pid) / "statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
