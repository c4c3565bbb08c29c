"""What this machine has free at the moment."""

from pathlib import Path


def available_ram_bytes(meminfo: Path = Path("/proc/meminfo")) -> int | None:
    """Return the RAM a new process can have without swapping; ``None`` where nobody tells.

    Source: ``MemAvailable`` of proc_meminfo(5), capped by the cgroup's limit (cgroup v2,
    ``memory.max`` less ``memory.current``) inside a container.
    """
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    if "MemAvailable" not in fields:
        return None
    available = int(fields["MemAvailable"].split()[0]) * 1024
    room = _cgroup_room_bytes()
    return available if room is None else min(available, room)


def _cgroup_room_bytes(cgroup: Path = Path("/sys/fs/cgroup")) -> int | None:
    try:
        limit = (cgroup / "memory.max").read_text(encoding="ascii").strip()
        used = (cgroup / "memory.current").read_text(encoding="ascii").strip()
    except OSError:
        return None
    return max(0, int(limit) - int(used)) if limit.isdecimal() and used.isdecimal() else None
