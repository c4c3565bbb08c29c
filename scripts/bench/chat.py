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
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT)]

from chat_terminal import Drawing, measure_drawing, time_to_prompt  # noqa: E402 - after the path
from contest import Bar  # noqa: E402
from report import describe_load, describe_machine, promises, table  # noqa: E402

from qtool.chat.client import connect, request_json  # noqa: E402
from qtool.chat.plan import EngineWish, plan_engine  # noqa: E402
from qtool.engines.base import Endpoint, EngineOptions  # noqa: E402
from qtool.models.local import LocalModel  # noqa: E402
from tests.conftest import TEST_CACHE  # noqa: E402
from tests.engines.conftest import HERE, make_once, run_script  # noqa: E402

PAGE = ROOT / "docs" / "benchmarks-chat.md"
N_CTX, N_NEW = 8192, 48
EARLY, LATE = 5, 20
"""The turns that the promises are about."""

MIN_SHARE, MAX_PROMPT_S, MAX_OF_LOOP, MAX_GROWTH = 0.97, 0.5, 0.1, 1.3

OURS, ALONE = "qtool (repacked, llama.cpp)", "llama.cpp's server alone"
TORCH, DENSE = "qtool --engine transformers, GPTQ", "qtool --engine transformers, bfloat16"
LOOP, DENSE_LOOP = "loop, GPTQ by gptqmodel", "loop, bfloat16"

THINGS = ("lighthouse", "violin", "glacier", "market", "orchard", "harbour", "clock", "comet")
PASSAGE = (
    "In the year {year} the old {thing} at the edge of the town was sold to a family that had come"
    " from far away, with seven children, two dogs and a map of places that nobody had ever seen."
    " They painted its door blue, kept bees behind it, and never told anyone why they had come."
    " Tell me a long story about the {thing} and what was found there."
)

HEAD = """# Conversations measured

`python scripts/bench/chat.py` wrote this page. All hold the same conversation ({n_turns} turns,
greedy, {n_new} tokens a reply) with SmolLM2-135M-Instruct, as GPTQ (4 bit, groups of 64) or, where
it says so, as it was before, in bfloat16. What is promised compares the same weights.
The loops are what chat scripts do: the whole history through `generate` at every turn. Times to
the first token are the client's, from Enter to the first text; a short turn before the first one
has paid for loading. On a CPU; nothing of this was measured on a GPU.
"""

ABOUT_GROWTH = """A token of the prompt costs llama.cpp more the further the conversation is: its
attention over what is kept takes as long as all the weights of this small model from about 1,400
tokens on, with flash attention (the default here) as without. Both were measured on one core, CPU
milliseconds a token, prefill of 92 tokens / decode, behind 0, 1,400 and 2,800 tokens: with it
3.4 / 14.7, 6.7 / 27.1, 9.8 / 43.5; without it 4.0 / 16.2, 8.2 / 23.0, 14.1 / 30.2. Keys and values
in F32 or Q8_0 prefill no faster (11.2 and 25.3 behind 2,800), nor do larger micro-batches.
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


def measure(turns: Sequence[int], folder: Path) -> tuple[Runs, float, Drawing]:
    """Return the replies of all, the time to the prompt, and what drawing costs."""
    python, plain, packed = obtain_models()
    gguf, transcript, other = (folder / name for name in ("m.gguf", "said.json", "other.json"))
    repack = ["repack", str(packed), "-o", str(gguf)]
    subprocess.run([sys.executable, "-m", "qtool", *repack], check=True, capture_output=True)
    n_turns = max(turns)
    n_few = max(turn for turn in turns if turn <= LATE)
    loop = partial(run_loop, python, transcript=transcript, turns=turns)
    own = ("--engine", "transformers", "--python", python)
    todo: dict[str, Callable[[], list[Reply]]] = {
        OURS: lambda: run_qtool(packed, n_turns, transcript),
        ALONE: lambda: run_server(gguf, transcript),
        TORCH: lambda: run_qtool(packed, n_few, other, *own),
        DENSE: lambda: run_qtool(plain, n_few, other, *own),
        LOOP: lambda: loop(model=packed),
        DENSE_LOOP: lambda: loop(model=plain),
    }
    runs = {}
    for name, run in todo.items():
        print(name, "...", file=sys.stderr, flush=True)
        runs[name] = run()
    return runs, min(time_to_prompt(gguf)), measure_drawing(gguf)


def bars(runs: Runs, prompt_s: float, drawing: Drawing) -> Iterator[Bar]:
    """Yield what is promised."""
    ours, server = runs[OURS], _by_turn(runs[ALONE])
    observed = median(r.rate / r.own for r in ours if r.own)
    yield _at_least("decode through qtool over the engine's own rate", observed, MIN_SHARE)
    alone = median(reply.rate / server[reply.turn].rate for reply in ours)
    yield _at_least("the same over llama.cpp's server alone", alone, MIN_SHARE)
    yield _at_least("the same, drawn on a terminal", drawing.of_own, MIN_SHARE)
    yield Bar(
        "prompt shown", f"{prompt_s:.2f} s", f"under {MAX_PROMPT_S} s", prompt_s < MAX_PROMPT_S
    )
    if LATE not in _by_turn(runs[DENSE_LOOP]):
        return
    for way, loop in ((OURS, LOOP), (TORCH, LOOP), (DENSE, DENSE_LOOP)):
        part = _share_of_loop(runs, way, loop)
        title = f"{way}: first token at turn {LATE} over the {loop}"
        yield Bar(title, f"{part:.3f}", f"at most {MAX_OF_LOOP}", part <= MAX_OF_LOOP)
    for way in (OURS, TORCH, DENSE):
        growth = _growth(runs[way])
        title = f"{way}: first token per new token, turn {LATE} over turn {EARLY}"
        yield Bar(title, f"{growth:.2f}", f"at most {MAX_GROWTH}", growth <= MAX_GROWTH)


def remarks(runs: Runs, drawing: Drawing) -> Iterator[tuple[str, str]]:
    """Yield figures beside the promises: other weights, other programs."""
    yield (
        "a reply drawn on a terminal, rate over the same reply not drawn",
        f"{drawing.of_undrawn:.1%}",
    )
    if LATE not in _by_turn(runs[DENSE_LOOP]):
        return
    for way in (OURS, TORCH):
        title = f"{way}: first token at turn {LATE} over the {DENSE_LOOP} (other weights)"
        yield title, f"{_share_of_loop(runs, way, DENSE_LOOP):.3f}"
    title = f"{ALONE}: first token per new token, turn {LATE} over turn {EARLY}"
    yield title, f"{_growth(runs[ALONE]):.2f}"


def _by_turn(replies: Sequence[Reply]) -> dict[int, Reply]:
    return {reply.turn: reply for reply in replies}


def _share_of_loop(runs: Runs, way: str, loop: str) -> float:
    late, others = _by_turn(runs[way])[LATE], _by_turn(runs[loop])[LATE]
    return late.first_token_s / others.first_token_s


def _growth(replies: Sequence[Reply]) -> float:
    """Return by how much a new token of the prompt costs more late than early."""
    return _cost_per_token(replies, LATE) / _cost_per_token(replies, EARLY)


def _cost_per_token(replies: Sequence[Reply], turn: int) -> float:
    """Return seconds to the first token per new token: the median of this turn and two before."""
    near = [reply for reply in replies if turn - 2 <= reply.turn <= turn]
    return median(reply.first_token_s / reply.new_tokens for reply in near)


def _at_least(promise: str, share: float, limit: float) -> Bar:
    return Bar(promise, f"{share:.1%}", f"at least {limit:.0%}", share >= limit)


def page(
    runs: Runs,
    turns: Sequence[int],
    kept: Sequence[Bar],
    beside: Iterable[tuple[str, str]],
    others: str,
) -> str:
    """Return the figures in Markdown; ``others`` says what else ran."""
    parts = [HEAD.format(n_turns=max(turns), n_new=N_NEW)]
    used = f"qtool {version('qtool')}, xllamacpp {version('xllamacpp')}"
    parts.append(f"{datetime.now(UTC):%Y-%m-%d}, {describe_machine()}.\n{used}, {others}.\n")
    parts += ["## Promises\n", promises(kept), ABOUT_GROWTH]
    parts += ["## Beside them\n", table(("figure", "measured"), beside)]
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
    others = describe_load()
    with tempfile.TemporaryDirectory(prefix="bench-chat-") as folder:
        runs, prompt_s, drawing = measure(chosen.turns, Path(folder))
    kept = list(bars(runs, prompt_s, drawing))
    text = page(runs, chosen.turns, kept, remarks(runs, drawing), others)
    (chosen.write or PAGE).write_text(text, encoding="utf-8")
    print(text)
    return 0 if all(bar.is_met for bar in kept) else 1


if __name__ == "__main__":
    sys.exit(main())
