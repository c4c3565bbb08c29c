"""What a terminal costs: time to the prompt, and the rate of a reply that is drawn."""

import contextlib
import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pexpect

from tests.cli.terminal import Terminal

LONG = 400
"""Tokens of a reply whose rate is measured."""

N_ROUNDS = 5
QUIET_S = 2.0
"""Nothing more comes after a silence of this length: longer than any pause between tokens."""

QUESTIONS = tuple(
    f"Write a very long story, of many chapters, about {what}."
    for what in ("a lighthouse", "a violin", "a glacier", "a market", "a comet")
)
_FIGURES = re.compile(
    r"(?P<n>\d+) tokens in [\d.]+ s, first after (?P<first>[\d.]+) s, (?P<own>[\d.]+) tokens/s"
)
_ESCAPE = re.compile(rb"\x1b(\[[0-9;?]*[a-zA-Z]|\][^\x07]*\x07|[=>()].?)")


@dataclass(frozen=True, slots=True)
class Rate:
    """Tokens per second of one reply: ``seen`` from outside, and by the engine's ``own`` clock."""

    seen: float
    own: float


@dataclass(frozen=True, slots=True)
class Drawing:
    """Medians of shares: of a drawn reply in the engine's own rate for that very reply, and in the
    rate of the same reply that ``qtool chat --json`` prints, asked right before or after."""

    of_own: float
    of_undrawn: float


def time_to_prompt(model: Path, n_runs: int = 5) -> list[float]:
    """Return how long it takes on a terminal until the prompt is there."""
    return [_one_prompt_s(model) for _ in range(n_runs)]


def _one_prompt_s(model: Path) -> float:
    started_at = time.perf_counter()
    with Terminal("chat", str(model)) as terminal:
        terminal.wait(">>>")
        return time.perf_counter() - started_at


def measure_drawing(model: Path, n_rounds: int = N_ROUNDS) -> Drawing:
    """Ask the same with and without a terminal, in turns, the order changing every time."""
    question = find_question(model)
    pairs = []
    for number in range(n_rounds):
        ways = {"drawn": drawn_rate, "undrawn": undrawn_rate}
        order = list(ways) if number % 2 else list(reversed(ways))
        got = {name: ways[name](model, question) for name in order}
        print(got, file=sys.stderr, flush=True)
        pairs.append((got["drawn"], got["undrawn"]))
    return Drawing(
        median(drawn.seen / drawn.own for drawn, _ in pairs),
        median(drawn.seen / undrawn.seen for drawn, undrawn in pairs),
    )


def find_question(model: Path) -> str:
    """Return a question that is answered at such length that the rate is not one of a few words."""
    for question in QUESTIONS:
        if _ask_undrawn(model, question)["usage"]["completion_tokens"] == LONG:
            return question
    raise SystemExit(f"{model} answers none of the questions with {LONG} tokens")


def drawn_rate(model: Path, question: str) -> Rate:
    """Return the rate from the first token to the next prompt.

    What comes is only read and timed: to draw it here would take from the engine the processor
    that a window's own program would hardly need.
    """
    with Terminal("chat", str(model), *_options(), columns=200) as terminal:
        terminal.wait_for_prompt()
        terminal.submit("Hello!")
        terminal.type(question + "\r")
        asked_at = time.perf_counter()
        ended_at, _ = _read(terminal)
        terminal.type("/stats\r")
        _, told = _read(terminal)
    found = _FIGURES.search(_ESCAPE.sub(b"", told).decode(errors="replace"))
    if found is None:
        raise SystemExit(f"no figures in {told!r}")
    taken_s = ended_at - asked_at - float(found["first"])
    return Rate((int(found["n"]) - 1) / taken_s, float(found["own"]))


def _read(terminal: Terminal) -> tuple[float, bytes]:
    """Read until nothing more comes; return when the last of it came, and all of it."""
    came_at, parts = time.perf_counter(), []
    with contextlib.suppress(pexpect.TIMEOUT, pexpect.EOF):
        while True:
            parts.append(terminal.child.read_nonblocking(65536, timeout=QUIET_S))
            came_at = time.perf_counter()
    return came_at, b"".join(parts)


def undrawn_rate(model: Path, question: str) -> Rate:
    """Return the rate of the same reply through ``qtool chat --json``."""
    turn = _ask_undrawn(model, question)
    timings = turn["timings"]
    taken_s = timings["total_s"] - timings["first_token_s"]
    return Rate((turn["usage"]["completion_tokens"] - 1) / taken_s, timings["decode_tokens_per_s"])


def _ask_undrawn(model: Path, question: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "qtool", "chat", str(model), "--json", *_options()]
    said = f"Hello!\n{question}\n"
    done = subprocess.run(command, input=said, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _options() -> tuple[str, ...]:
    return ("-m", str(LONG), "--temperature", "0")
