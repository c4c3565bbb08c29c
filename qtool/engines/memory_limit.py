"""A bound on what an engine's process may allocate.

A chat template is a program that comes with the model, and llama.cpp runs it without a limit: one
line of it can ask for gigabytes. With the bound such a request fails, and the machine lives.
"""

import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def bound_memory(extra_bytes: int, status: Path = STATUS) -> None:
    """Let this process allocate ``extra_bytes`` more than it has, and no more.

    Mapped files, such as weights, do not count. Does nothing where the system is not Linux: others
    bound no mapped memory. Source: https://man7.org/linux/man-pages/man2/getrlimit.2.html,
    RLIMIT_DATA.
    """
    taken_bytes = _read_data_bytes(status)
    if sys.platform != "linux" or taken_bytes is None:
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = taken_bytes + extra_bytes
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _read_data_bytes(status: Path) -> int | None:
    """Return the size of what is counted: private memory that can be written."""
    try:
        text = status.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    sizes = [line.split()[1] for line in text.splitlines() if line.startswith("VmData:")]
    return int(sizes[0]) * 1024 if sizes and sizes[0].isdecimal() else None
