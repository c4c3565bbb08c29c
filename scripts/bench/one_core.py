"""Processor time a token of quantised models costs on one core: comparable on a busy machine, too.

    python scripts/bench/one_core.py [--kinds gptq-64 awq-64] [--rounds 3] [--write FILE]

The models, engines and ways are those of `quantised.py`. Each engine computes with one thread, and
what is counted is the time that its process ran, not the time that passed.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT)]

from quantised import (  # noqa: E402 - after the path
    ABOUT_AWQ,
    GPTQMODEL,
    KINDS,
    MIN_OVER_GPTQMODEL,
    MIN_OVER_NATIVE,
    N_CTX,
    NATIVE,
    QUESTION,
    REPACKED,
    Rates,
    Rounds,
    over,
    plan_ways,
)
from report import describe_load, describe_machine, table  # noqa: E402

from qtool.chat.client import connect, request_json  # noqa: E402
from qtool.chat.plan import EngineWish, plan_engine  # noqa: E402
from qtool.engines.base import Endpoint, EngineOptions  # noqa: E402
from qtool.models.local import LocalModel  # noqa: E402

N_NEW, N_ROUNDS = 24, 3
PAGE = ROOT / "docs" / "benchmarks-quantised.md"

HEAD = """# Quantised models on one core of a CPU

`python scripts/bench/one_core.py` wrote this page: SmolLM2-135M-Instruct packed as symmetric GPTQ
and AWQ, the processor time in milliseconds that a token costs: of a prompt of some 450, and of
{n_new} that are written after it. Each engine has one thread, and only the time it ran is counted,
so that other programs hardly matter; all take turns ({n_rounds} rounds, medians). "native" is the
same model as llama.cpp's Q4_0, its head and embedding in F16 as in the repacked one. Tokens per
second on all cores are what `python scripts/bench/quantised.py` prints, with what is promised;
it wants an idle machine. Nothing of this was measured on a GPU.
"""

ABOUT_HEAD = """The head in Q8_0 costs the processor as much as in F16, though the file is 27 MB
smaller, and keeps less: the same top token as transformers in float32 in 95.9 % of 512 positions
against 98.0 % (GPTQ, groups of 64), 96.5 % against 98.8 % (AWQ). Perplexity over 1536 tokens, head
in F16 / in Q8_0 / transformers: 20.80 / 20.86 / 20.76 and 18.24 / 18.20 / 18.19.
"""

ABOUT_PAGES = """Weights of up to 512 MiB are copied into memory with large pages (2 MiB), others
mapped as files are. Milliseconds a token with small pages and with large ones, prompt and reply
short: 118 MB 18.5 / 14.2, loaded in the same time; 725 MB 104 / 94, loaded in 1.2 s / 2.5 s;
4.2 GB 733 / 680, loaded in 7 s / 16 s or more. llama.cpp's own interleaving of Q4_0 is in use:
without it the small model takes 23.0 where it takes 17.4 with it, both in small pages.
"""


def cost(model: Path, wish: EngineWish) -> Rates:
    """Return the milliseconds a token takes of the processor, in the place of rates."""
    wish = replace(wish, options=EngineOptions(n_ctx_tokens=N_CTX, n_threads=1))
    with plan_engine(LocalModel(model), wish).keeper as keeper:
        endpoint, pid = keeper.endpoint(), keeper.pid
        assert pid is not None
        _ask(endpoint, pid, "warm up", 8)
        read_ms, n_tokens = _ask(endpoint, pid, QUESTION * 30, 1)
        long_ms, _ = _ask(endpoint, pid, QUESTION * 30, N_NEW + 1)
        short_ms, _ = _ask(endpoint, pid, QUESTION * 30, 1)  # its prompt is kept, but for a token
    return Rates(prefill=read_ms / n_tokens, decode=(long_ms - short_ms) / N_NEW)


def _ask(endpoint: Endpoint, pid: int, prompt: str, n_new: int) -> tuple[float, int]:
    """Return the milliseconds the engine ran for a completion, and the tokens of its prompt."""
    body = {
        **{"model": endpoint.model, "prompt": prompt, "max_tokens": n_new, "temperature": 0},
        "ignore_eos": True,
    }
    before = processor_ms(pid)
    connection = connect(endpoint, 600)
    answer = json.load(request_json(connection, endpoint, "POST", "/v1/completions", body))
    connection.close()
    return processor_ms(pid) - before, answer["usage"]["prompt_tokens"]


def processor_ms(pid: int) -> float:
    """Return how long the threads of a process have run; the kernel's scheduler/sched-stats.rst."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e6


def page(costs: Mapping[str, Rounds], others: str) -> str:
    """Return the figures in Markdown; ``others`` says what else ran."""
    used = f"qtool {version('qtool')}, xllamacpp {version('xllamacpp')}"
    n_rounds = len(next(iter(costs.values())))
    parts = [HEAD.format(n_new=N_NEW, n_rounds=n_rounds)]
    parts.append(f"{datetime.now(UTC):%Y-%m-%d}, {describe_machine()}.\n{used}, {others}.\n")
    for what in ("decode", "prefill"):
        rows = [
            (way, *(_shown(rounds, way, what) for rounds in costs.values()))
            for way in next(iter(costs.values()))[0]
        ]
        parts += [f"## {what.capitalize()}, ms a token\n", table(("", *costs), rows)]
    parts += ["## Against others, by decode\n", table(("", *costs, "wanted"), ratios(costs))]
    parts += ["## What else was tried\n", ABOUT_HEAD, ABOUT_AWQ, ABOUT_PAGES]
    return "\n".join(parts)


def ratios(costs: Mapping[str, Rounds]) -> list[tuple[str, ...]]:
    """Return by how much the repacked model decodes faster; what is wanted is for all cores."""
    wanted = {GPTQMODEL: f"{MIN_OVER_GPTQMODEL:g}", NATIVE: f"{MIN_OVER_NATIVE:.2f}"}
    return [
        (
            f"over {way}",
            *(f"{1 / over(rounds, REPACKED, way):.2f}" for rounds in costs.values()),
            at,
        )
        for way, at in wanted.items()
    ]


def _shown(rounds: Rounds, way: str, what: str) -> str:
    return f"{median(getattr(costs[way], what) for costs in rounds):.2f}"


def measure(kinds: Sequence[str], n_rounds: int, work: Path) -> dict[str, Rounds]:
    """Return the costs of all ways by kind, once a round."""
    plans = {kind: plan_ways(kind, work) for kind in kinds}
    costs: dict[str, Rounds] = {kind: [] for kind in kinds}
    for _ in range(n_rounds):
        for kind, ways in plans.items():
            found = {way: cost(*which) for way, which in ways.items()}
            print(kind, found, file=sys.stderr, flush=True)
            costs[kind].append(found)
    return costs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--rounds", type=int, default=N_ROUNDS)
    parser.add_argument("--write", type=Path, metavar="FILE", help=f"default: {PAGE}")
    chosen = parser.parse_args()
    others = describe_load()
    with tempfile.TemporaryDirectory(prefix="bench-one-core-") as folder:
        costs = measure(chosen.kinds, chosen.rounds, Path(folder))
    text = page(costs, others)
    (chosen.write or PAGE).write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
