"""Time to the first token at turns 1 to 50, rates, and time to the prompt: `qtool chat` and others.

    python scripts/bench/chat.py [--turns 1 5 10 20 50] [--write FILE]

One conversation of the starter model, packed as GPTQ (4 bit, groups of 64, symmetric) by the
tests, whose caches (`.cache/tests`) also hold the environment with torch; what is missing there is
made first. Ends with 1 when a promise is not kept. Nothing else should run meanwhile.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT)]

from contest import Bar  # noqa: E402 - after the path
from report import describe_machine, promises, table  # noqa: E402

from qtool.chat.client import connect, request_json  # noqa: E402
from qtool.chat.plan import EngineWish, plan_engine  # noqa: E402
from qtool.engines.base import Endpoint, EngineOptions  # noqa: E402
from qtool.models.local import LocalModel  # noqa: E402
from tests.cli.terminal import Terminal  # noqa: E402
from tests.conftest import TEST_CACHE  # noqa: E402
from tests.engines.conftest import HERE, make_once, run_script  # noqa: E402

PAGE = ROOT / "docs" / "benchmarks-chat.md"
N_CTX, N_NEW = 8192, 48
LONG = 400
"""Tokens of the reply whose rate is measured on a terminal."""

EARLY, LATE = 5, 20
"""The turns that the promises are about."""

MIN_SHARE, MAX_PROMPT_S, MAX_OF_LOOP, MAX_GROWTH = 0.97, 0.5, 0.1, 1.3

THINGS = ("lighthouse", "violin", "glacier", "market", "orchard", "harbour", "clock", "comet")
PASSAGE = (
    "In the year {year} the old {thing} at the edge of the town was sold to a family that had come"
    " from far away, with seven children, two dogs and a map of places that nobody had ever seen."
    " They painted its door blue, kept bees behind it, and never told anyone why they had come."
    " Tell me a long story about the {thing} and what was found there."
)

HEAD = """# Conversations measured

`python scripts/bench/chat.py` wrote this page. All hold the same conversation ({n_turns} turns,
greedy, {n_new} tokens a reply) with the same weights:
{model}.
The loops are what chat scripts do: the whole history through `generate` at every turn. Times to
the first token are the client's, from Enter to the first text; a short turn before the first one
has paid for loading. On a CPU; nothing of this was measured on a GPU.
"""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answered turn; ``rate`` in tokens per second as seen by who asked, ``own`` the engine's.

    ``new_tokens`` are those of the prompt that no cache held.
    """

    turn: int
    first_token_s: float
    rate: float
    prompt_tokens: int
    new_tokens: int
    own: float | None = None


Runs = dict[str, list[Reply]]


def script(n_turns: int) -> list[str]:
    """Return what the user says: a short greeting, then ``n_turns`` turns."""
    said = (PASSAGE.format(year=1800 + n, thing=THINGS[n % len(THINGS)]) for n in range(n_turns))
    return ["Hello!", *said]


def run_qtool(model: Path, n_turns: int, transcript: Path, *options: str) -> list[Reply]:
    """Hold the conversation through ``qtool chat --json``; write ``transcript``."""
    command = [
        *(sys.executable, "-m", "qtool", "chat", str(model), "--json", *options),
        *("-m", str(N_NEW), "--temperature", "0", "--ctx", str(N_CTX), "-o", str(transcript)),
    ]
    said = "".join(f"{text}\n" for text in script(n_turns))
    done = subprocess.run(command, input=said, stdout=subprocess.PIPE, text=True, check=True)
    turns = [json.loads(line) for line in done.stdout.splitlines()]
    return [_from_json(number, turn) for number, turn in enumerate(turns) if number]


def _from_json(number: int, turn: dict) -> Reply:
    usage, timings = turn["usage"], turn["timings"]
    first, total = timings["first_token_s"], timings["total_s"]
    return Reply(
        number,
        first,
        (usage["completion_tokens"] - 1) / (total - first),
        usage["prompt_tokens"],
        usage["prompt_tokens"] - (usage["cached_tokens"] or 0),
        timings["decode_tokens_per_s"],
    )


def run_server(gguf: Path, transcript: Path) -> list[Reply]:
    """Ask llama.cpp's own server the same, with a client that does nothing but read."""
    messages = json.loads(transcript.read_text())
    asked = [i for i, message in enumerate(messages) if message["role"] == "user"]
    wish = EngineWish(options=EngineOptions(n_ctx_tokens=N_CTX))
    with plan_engine(LocalModel(gguf), wish).keeper as keeper:
        endpoint = keeper.endpoint()
        replies = [_ask(endpoint, messages[: at + 1], turn) for turn, at in enumerate(asked)]
    return replies[1:]


def _ask(endpoint: Endpoint, messages: Sequence[dict], turn: int) -> Reply:
    body = {
        **{"model": endpoint.model, "messages": messages, "stream": True, "cache_prompt": True},
        **{"stream_options": {"include_usage": True}, "max_tokens": N_NEW, "temperature": 0},
    }
    times, last = [], {}
    started_at = time.perf_counter()
    connection = connect(endpoint, 600)
    response = request_json(connection, endpoint, "POST", "/v1/chat/completions", body)
    for line in iter(response.readline, b""):
        if b'"content"' in line:
            times.append(time.perf_counter())
        if b'"timings"' in line:
            last = json.loads(line[5:])
    connection.close()
    timings, n_tokens = last["timings"], last["timings"]["predicted_n"]
    rate = (n_tokens - 1) / (times[-1] - times[0])
    n_new = timings["prompt_n"]
    first_s = times[0] - started_at
    return Reply(
        turn, first_s, rate, n_new + timings["cache_n"], n_new, timings["predicted_per_second"]
    )


def run_loop(python: str, model: Path, transcript: Path, turns: Sequence[int]) -> list[Reply]:
    """Let transformers answer the same in the way of chat scripts."""
    command = [python, "-I", str(Path(__file__).with_name("chat_loop.py")), str(model)]
    command += [str(transcript), str(N_NEW), *map(str, turns)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    told = [line for line in done.stdout.splitlines() if line.startswith('{"turn"')]
    return [
        Reply(one["turn"], one["first_token_s"], one["decode_tokens_per_s"], n, n)
        for one in map(json.loads, told)
        for n in [one["prompt_tokens"]]
    ]


def time_to_prompt(model: Path, n_runs: int = 5) -> list[float]:
    """Return how long it takes on a terminal until the prompt is there."""
    return [_one_prompt_s(model) for _ in range(n_runs)]


def _one_prompt_s(model: Path) -> float:
    started_at = time.perf_counter()
    with Terminal("chat", str(model)) as terminal:
        terminal.wait(">>>")
        return time.perf_counter() - started_at


def share_on_terminal(model: Path) -> float:
    """Return the rate of a long reply, as it is drawn, over the engine's own."""
    with Terminal("chat", str(model), "-m", str(LONG), "--temperature", "0") as terminal:
        terminal.wait_for_prompt()
        terminal.submit("Hello!")
        n_before = len(terminal.printed)
        terminal.type("Write a very long story about a lighthouse.\r")
        times: list[float] = []
        while not terminal.text.endswith("\n>>>") or len(times) < 2:
            n_printed = len(terminal.printed)
            terminal.draw(0.05)
            if len(terminal.printed) > max(n_printed, n_before + 200):
                times.append(time.perf_counter())
        terminal.submit("/stats")
        figures = terminal.text.rpartition("/stats")[2].replace("\n", " ")
    n_tokens = int(figures.split(" tokens in")[0])
    total_s = float(figures.split("tokens in ")[1].split()[0])
    first_s = float(figures.split("first after ")[1].split()[0])
    own = float(figures.split(" tokens/s")[0].split()[-1])
    return (n_tokens - 1) / (total_s - first_s) / own


def obtain_models() -> tuple[str, Path, Path]:
    """Return the tests' interpreter, the model in bfloat16, and packed as GPTQ; make them once."""
    from qtool.download.starter import fetch_starter
    from qtool.engines.interpreters import find_python
    from qtool.models.starters import load_starters, starter_path
    from tests.engines.conftest import _make_environment

    starter = load_starters()[0]
    gguf = starter_path(starter, TEST_CACHE)
    if not gguf.exists():
        fetch_starter(starter, TEST_CACHE, endpoints=(), note=print)
    python = find_python(str(make_once(TEST_CACHE / "transformers-5", _make_environment)), {})

    def make(script: str, source: Path):
        return lambda folder: run_script(python, str(HERE / script), str(folder), str(source))

    plain = make_once(TEST_CACHE / "real-models", make("make_models.py", gguf)) / "smollm"
    packed = make_once(TEST_CACHE / "repack-real", make("make_repack_real.py", plain))
    return python.path, plain, packed / "gptq-64"


def measure(turns: Sequence[int], folder: Path) -> tuple[Runs, float, float]:
    """Return the replies of all, the time to the prompt, and the rate's share on a terminal."""
    python, plain, packed = obtain_models()
    gguf, transcript, other = (folder / name for name in ("m.gguf", "said.json", "other.json"))
    repack = ["repack", str(packed), "-o", str(gguf)]
    subprocess.run([sys.executable, "-m", "qtool", *repack], check=True, capture_output=True)
    n_turns = max(turns)
    few = [turn for turn in turns if turn <= LATE]
    loop = partial(run_loop, python, transcript=transcript, turns=turns)
    own = ("--engine", "transformers", "--python", python)
    todo: dict[str, Callable[[], list[Reply]]] = {
        "qtool (repacked, llama.cpp)": lambda: run_qtool(packed, n_turns, transcript),
        "llama.cpp's server alone": lambda: run_server(gguf, transcript),
        "qtool --engine transformers": lambda: run_qtool(packed, max(few), other, *own),
        "loop, GPTQ by gptqmodel": lambda: loop(model=packed),
        "loop, bfloat16": lambda: loop(model=plain),
    }
    runs = {}
    for name, run in todo.items():
        print(name, "...", file=sys.stderr, flush=True)
        runs[name] = run()
    return runs, min(time_to_prompt(gguf)), share_on_terminal(gguf)


def bars(runs: Runs, prompt_s: float, share: float) -> Iterator[Bar]:
    """Yield what is promised."""
    by_turn = {name: {reply.turn: reply for reply in replies} for name, replies in runs.items()}
    ours, server, kept, gptq, plain = by_turn.values()
    observed = median(r.rate / r.own for r in ours.values() if r.own)
    yield _at_least("decode through qtool over the engine's own rate", observed, MIN_SHARE)
    alone = median(ours[turn].rate / server[turn].rate for turn in ours)
    yield _at_least("the same over llama.cpp's server alone", alone, MIN_SHARE)
    yield _at_least("the same, drawn on a terminal", share, MIN_SHARE)
    yield Bar(
        "prompt shown", f"{prompt_s:.2f} s", f"under {MAX_PROMPT_S} s", prompt_s < MAX_PROMPT_S
    )
    if LATE not in plain:
        return
    for what, one in (("qtool", ours), ("qtool, transformers", kept)):
        for name, loop in (("bfloat16 loop's", plain), ("GPTQ loop's", gptq)):
            part = one[LATE].first_token_s / loop[LATE].first_token_s
            title = f"{what}: first token at turn {LATE} over the {name}"
            yield Bar(title, f"{part:.3f}", f"at most {MAX_OF_LOOP}", part <= MAX_OF_LOOP)
        growth = _cost_per_token(one, LATE) / _cost_per_token(one, EARLY)
        title = f"{what}: first token per new token, turn {LATE} over turn {EARLY}"
        yield Bar(title, f"{growth:.2f}", f"at most {MAX_GROWTH}", growth <= MAX_GROWTH)


def _cost_per_token(replies: dict[int, Reply], turn: int) -> float:
    """Return seconds to the first token per new token: the median of this turn and two before."""
    near = [replies[n] for n in range(turn - 2, turn + 1)]
    return median(reply.first_token_s / reply.new_tokens for reply in near)


def _at_least(promise: str, share: float, limit: float) -> Bar:
    return Bar(promise, f"{share:.1%}", f"at least {limit:.0%}", share >= limit)


def page(runs: Runs, turns: Sequence[int], kept: Sequence[Bar]) -> str:
    """Return the figures in Markdown."""
    model = "SmolLM2-135M-Instruct, GPTQ, 4 bit, groups of 64"
    parts = [HEAD.format(n_turns=max(turns), n_new=N_NEW, model=model)]
    used = f"qtool {version('qtool')}, xllamacpp {version('xllamacpp')}"
    parts.append(f"{datetime.now(UTC):%Y-%m-%d}, {describe_machine()}.\n{used}.\n")
    parts += ["## Promises\n", promises(kept)]
    titles = {
        "First token at turn N, ms": lambda r: f"{1000 * r.first_token_s:.0f}",
        "Prefill: tokens that were new, and their rate, tokens/s": lambda r: (
            f"{r.new_tokens}: {r.new_tokens / r.first_token_s:.0f}"
        ),
        "Decode, tokens/s": lambda r: f"{r.rate:.1f}",
    }
    for title, show in titles.items():
        rows = []
        for name, replies in runs.items():
            shown = {reply.turn: show(reply) for reply in replies}
            rows.append((name, *(shown.get(turn, "-") for turn in turns)))
        parts += [f"## {title}\n", table(("", *map(str, turns)), rows)]
    return "\n".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--turns", type=int, nargs="+", default=[1, 5, 10, 20, 50])
    parser.add_argument("--write", type=Path, metavar="FILE", help=f"default: {PAGE}")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-chat-") as folder:
        runs, prompt_s, share = measure(chosen.turns, Path(folder))
    kept = list(bars(runs, prompt_s, share))
    text = page(runs, chosen.turns, kept)
    (chosen.write or PAGE).write_text(text, encoding="utf-8")
    print(text)
    return 0 if all(bar.is_met for bar in kept) else 1


if __name__ == "__main__":
    sys.exit(main())
