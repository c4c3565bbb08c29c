"""Runs of a program, measured: wall clock, CPU time, peak memory."""

import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TIMEOUT_S = 180.0

# A child's peak memory counts from its parent's at the time of the fork (exec_mmap in the kernel's
# fs/exec.c keeps it), so children are started by a Python that holds next to nothing.
_LAUNCHER = """
import json, os, sys, time
started_at = time.monotonic()
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
print(json.dumps([time.monotonic() - started_at, usage.ru_utime + usage.ru_stime,
                  usage.ru_maxrss, os.waitstatus_to_exitcode(status)]), file=sys.stderr)
"""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one run took. ``complaint`` holds the end of what a failed run said."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    exit_code: int
    complaint: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of a peer: what it took, what the hub saw, whether the files are right."""

    usage: Usage
    n_hub_requests: int
    bytes_sent: int
    is_right: bool


@dataclass(frozen=True, slots=True)
class Median:
    """The medians of a peer's runs; ``is_right`` when every single one was."""

    wall_s: float
    cpu_s: float
    peak_bytes: float
    n_hub_requests: float
    bytes_sent: float
    is_right: bool
    n_runs: int


def run_measured(command: Sequence[str], environ: Mapping[str, str]) -> Usage:
    """Run a program to its end, its output thrown away. Raises subprocess.TimeoutExpired."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _LAUNCHER, *command],
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=TIMEOUT_S,
        check=True,
        text=True,
        errors="replace",
    )
    said, _, figures = done.stderr.rstrip().rpartition("\n")
    wall_s, cpu_s, peak_kib, exit_code = json.loads(figures)
    return Usage(wall_s, cpu_s, peak_kib * 1024, exit_code, said[-300:] if exit_code else "")


def median_of(samples: Sequence[Sample]) -> Median:
    """Return the medians of at least one run."""

    def median(values: list[float]) -> float:
        return statistics.median(values)

    return Median(
        median([s.usage.wall_s for s in samples]),
        median([s.usage.cpu_s for s in samples]),
        median([s.usage.peak_bytes for s in samples]),
        median([s.n_hub_requests for s in samples]),
        median([s.bytes_sent for s in samples]),
        all(s.is_right for s in samples),
        len(samples),
    )
