"""How much memory this machine, or the container around us, has and can still give.

Sources: proc_meminfo(5); the kernel's Documentation/admin-guide/cgroup-v2.rst (``memory.max``,
``memory.current``, ``memory.stat``) and cgroup-v1/memory.rst.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

MAX_TEXT_BYTES = 20_000


@dataclass(frozen=True, slots=True)
class Ram:
    """Sizes in bytes; None is unknown. ``available_bytes`` can be had without swapping."""

    total_bytes: int | None
    available_bytes: int | None


def read_ram(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> Ram:
    """Ask the system; a control group's limit counts where it is the lower one."""
    sizes = {
        key: int(size) * 1024
        for key, size in re.findall(r"^(\w+):\s+(\d+) kB$", _read(meminfo), re.MULTILINE)
    }
    total = sizes.get("MemTotal") or _physical_bytes()
    available = sizes.get("MemAvailable")
    limit = _cgroup_number(cgroup, "memory.max", "memory/memory.limit_in_bytes")
    if limit is None or total is None or limit >= total:
        return Ram(total, available)
    used = _cgroup_number(cgroup, "memory.current", "memory/memory.usage_in_bytes") or 0
    free = max(0, limit - max(0, used - _cgroup_file_cache(cgroup)))
    return Ram(limit, free if available is None else min(free, available))


def _physical_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _cgroup_folders(root: Path) -> list[Path]:
    own = re.search(r"^0::(/.*)$", _read(Path("/proc/self/cgroup")), re.MULTILINE)
    return [*([root / own[1].lstrip("/")] if own else []), root]


def _cgroup_number(root: Path, *names: str) -> int | None:
    """Read a number of this process's control group, version 2 or 1; "max" is no number."""
    for folder in _cgroup_folders(root):
        for name in names:
            if (text := _read(folder / name).strip()).isdecimal():
                return int(text)
    return None


def _cgroup_file_cache(root: Path) -> int:
    """Return what the group's use counts although the kernel gives it back when asked."""
    for folder in _cgroup_folders(root):
        if found := re.search(r"^inactive_file (\d+)$", _read(folder / "memory.stat"), re.M):
            return int(found[1])
    return 0


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_TEXT_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
