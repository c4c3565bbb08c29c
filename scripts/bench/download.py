"""``python scripts/bench/download.py``: qtool download beside its peers, on a hub on loopback.

Needs the environment of the dev group (``pip install --group dev -e .``). The peers from PyPI are
installed into .cache/bench once; aria2c and curl are taken from the system where they are there.
"""

import argparse
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from peers import make_tools, missing_programs, versions  # noqa: E402
from report import describe_machine, page, promises, table  # noqa: E402
from works import WORKS, Outcome  # noqa: E402

import qtool  # noqa: E402


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("works", nargs="*", metavar="WORK", help=f"of {', '.join(WORKS)}")
    parser.add_argument("-n", "--runs", type=int, default=3, help="runs of each peer (3)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page there")
    arguments = parser.parse_args()
    if unknown := set(arguments.works) - set(WORKS):
        parser.error(f"no work {', '.join(sorted(unknown))}; there are {', '.join(WORKS)}")
    return arguments


def main() -> int:
    """Measure, print, and write the page; return 1 when a promise is not kept."""
    arguments = parse_arguments()
    make_tools()
    for name, reason in missing_programs().items():
        print(f"{name} is left out: {reason}")
    started_at = time.monotonic()
    outcomes = []
    for name in arguments.works or WORKS:
        outcome = WORKS[name](arguments.runs)
        print_outcome(outcome)
        outcomes.append(outcome)
    print(f"{time.monotonic() - started_at:.0f} s in all")
    target = arguments.write or (None if arguments.works else ROOT / "docs" / "benchmarks.md")
    if target is not None:
        target.parent.mkdir(exist_ok=True)
        date = datetime.now(UTC).date().isoformat()
        known = {"qtool": qtool.__version__, **versions()}
        target.write_text(page(date, describe_machine(), known, outcomes), encoding="utf-8")
        print(f"written to {target}")
    return 0 if all(bar.is_met for outcome in outcomes for bar in outcome.bars) else 1


def print_outcome(outcome: Outcome) -> None:
    """Print one work's tables."""
    print(f"{outcome.title}\n\n{table(outcome.columns, outcome.rows)}")
    print(promises(outcome.bars), flush=True)


if __name__ == "__main__":
    sys.exit(main())
