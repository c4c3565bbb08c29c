"""The outcomes as a page: on which machine, what was measured, which promises hold."""

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from contest import Bar
from works import Outcome

_HEAD = """# Downloads measured

`python scripts/bench/download.py` wrote this page. It runs every program against the same hub on
the loopback interface, in turn, and takes medians. A hub on the same machine uses the same cores:
CPU seconds and the ratios of one run are worth more than its wall clock.
"""


def page(date: str, machine: str, versions: Mapping[str, str], outcomes: Iterable[Outcome]) -> str:
    """Return the page in Markdown."""
    outcomes = list(outcomes)
    used = ", ".join(f"{name} {version}" for name, version in versions.items())
    parts = [_HEAD, f"{date}, {machine}.\n{used}.\n"]
    parts += ["## Promises\n", promises(bar for outcome in outcomes for bar in outcome.bars)]
    parts.append("## Figures\n")
    for outcome in outcomes:
        parts += [f"### {outcome.title}\n", table(outcome.columns, outcome.rows)]
    return "\n".join(parts)


def promises(bars: Iterable[Bar]) -> str:
    """Return the bars as a table."""
    rows = [(b.promise, b.measured, b.limit, "yes" if b.is_met else "NO") for b in bars]
    return table(("promise", "measured", "limit", "kept"), rows)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table that is even to look at as plain text."""
    lines = [list(columns), *map(list, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    lines.insert(1, ["-" * width for width in widths])
    shown = (
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )
    return "\n".join(shown) + "\n"


def describe_machine() -> str:
    """Return processor, cores, memory, system and Python in one line."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    ram_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = len(os.sched_getaffinity(0))
    return (
        f"{names[0] if names else platform.machine()}, {cores} cores, {ram_bytes / 2**30:.0f} GiB, "
        f"Linux {platform.release()}, Python {platform.python_version()}"
    )


def describe_load() -> str:
    """Return how busy others keep the machine; ask before anything is measured."""
    return f"load average {os.getloadavg()[0]:.1f} when it began"
