"""Telling a process from a later one with the same id."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

POLL_S = 0.02


def mark_process(pid: int) -> str | None:
    """Return when the process ``pid`` began, as the system says it; ``None`` if there is none.

    Zombies are none. On Linux it is the boot's id and the start in clock ticks since (field 22 of
    proc_pid_stat(5)); elsewhere what ``ps`` says, to the second.
    """
    if not Path("/proc/self/stat").exists():
        return _ask_ps(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # a program's name may hold spaces and brackets
    return None if fields[0] in "ZX" else f"{boot} {fields[19]}"


def is_running(pid: int, mark: str) -> bool:
    """Tell whether the process ``pid`` still is the one that had ``mark``."""
    return mark_process(pid) == mark


def end_process(pid: int, mark: str, patience_s: float = 5.0) -> None:
    """Ask a process to end, and make it if it does not. One that is gone already is left alone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not is_running(pid, mark):
            return
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
        until = time.monotonic() + patience_s
        while is_running(pid, mark) and time.monotonic() < until:
            time.sleep(POLL_S)


def _ask_ps(pid: int) -> str | None:
    done = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    found = re.match(r"\s*([^\sZ]\S*)\s+(\S.*)", done.stdout)
    return found[2].strip() if found else None
