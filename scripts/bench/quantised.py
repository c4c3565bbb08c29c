"""Rates of GPTQ and AWQ on a CPU: repacked for llama.cpp, through transformers, and native.

    python scripts/bench/quantised.py [--kinds gptq-32 gptq-64 awq-64] [--write FILE]

The starter model, packed by the tests, whose caches (`.cache/tests`) also hold the environment with
torch and gptqmodel; what is missing there is made first. Ends with 1 when a promise is not kept.
Nothing else should run meanwhile.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median

import gguf

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT)]

from chat import obtain_models, run_loop  # noqa: E402 - after the path
from contest import Bar  # noqa: E402
from quality import Quality, judge  # noqa: E402
from report import describe_load, describe_machine, promises, table  # noqa: E402

from qtool.chat.client import connect, request_json  # noqa: E402
from qtool.chat.plan import EngineWish, plan_engine  # noqa: E402
from qtool.engines.base import Endpoint, EngineKind, EngineOptions  # noqa: E402
from qtool.models.local import LocalModel  # noqa: E402
from tests.cli.terminal import Terminal  # noqa: E402

KINDS = ("gptq-32", "gptq-64", "awq-64")
N_ROUNDS, N_NEW, N_CTX = 3, 128, 2048
MIN_OVER_GPTQMODEL, MIN_OVER_NATIVE = 3.0, 0.9
MAX_PERPLEXITY_OFF = 0.005
MAX_PROMPT_S, MAX_FIRST_TOKEN_S = 0.5, 2.0
QUESTION = "Write a very long story about a lighthouse, its keeper and the sea. "
REPACKED, HEAD_Q8 = "repacked, llama.cpp", "the same, head in Q8_0"
NATIVE, INT4 = "native Q4_0, llama.cpp", "transformers, int4pack"
GPTQMODEL, BFLOAT16 = "transformers, gptqmodel", "transformers, bfloat16"
LOOP = "script, gptqmodel"

HEAD = """# Quantised models on a CPU, measured

`python scripts/bench/quantised.py` wrote this page: SmolLM2-135M-Instruct packed as symmetric GPTQ
and AWQ, {n_new} greedy tokens after a prompt of some 450, through qtool's own engines. All ways
take turns, rounds: {n_rounds}; rates are medians, and promises medians of the ratios within a
round. "native" is the same model as llama.cpp's Q4_0, its head and embedding in F16 as in the
repacked one; "script" one call of `generate` in the checkpoint's type, float16, without qtool.
Nothing of this was measured on a GPU.
"""

ABOUT_AWQ = """AWQ and asymmetric GPTQ become Q4_1, for which llama.cpp has no kernel of eight rows
at once as for Q4_0. What else holds their codes was measured, CPU milliseconds a token on one core,
prefill / decode (AWQ, groups of 64): Q4_1 6.6 / 20.0; Q5_0, which holds code - zero without
rounding, 4.9 / 29.9; Q4_0 with the zero points in a LoRA adapter of rank K / 64, exact too,
4.1 / 17.9, but two files that other programs would have to be given together; native Q4_0
3.4 / 14.2. So it stays Q4_1: one file, and the codes as they are.
"""


@dataclass(frozen=True, slots=True)
class Rates:
    """Tokens per second, as the client sees them."""

    prefill: float
    decode: float


Rounds = list[dict[str, Rates]]
"""The rates by way, once a round."""


def measure(model: Path, wish: EngineWish) -> Rates:
    """Start an engine and let it write."""
    with plan_engine(LocalModel(model), wish).keeper as keeper:
        endpoint = keeper.endpoint()
        _ask(endpoint, "warm up", 8)
        return _ask(endpoint, QUESTION * 30, N_NEW)


def _ask(endpoint: Endpoint, prompt: str, n_new: int) -> Rates:
    body = {
        **{"model": endpoint.model, "prompt": prompt, "max_tokens": n_new, "temperature": 0},
        **{"stream": True, "ignore_eos": True, "stream_options": {"include_usage": True}},
    }
    times, usage = [], {}
    started_at = time.perf_counter()
    connection = connect(endpoint, 600)
    response = request_json(connection, endpoint, "POST", "/v1/completions", body)
    for line in iter(response.readline, b""):
        event = json.loads(line[5:]) if line.startswith(b"data: {") else {}
        if event.get("choices"):
            times.append(time.perf_counter())
        usage = event.get("usage") or usage
    connection.close()
    decode = (usage["completion_tokens"] - 1) / (times[-1] - times[0])
    return Rates(usage["prompt_tokens"] / (times[0] - started_at), decode)


def write_native(repacked: Path, target: Path) -> Path:
    """Write the model of a GGUF with its 4-bit tensors as llama.cpp itself would quantise them."""
    reader = gguf.GGUFReader(repacked)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for field in reader.fields.values():
        if not field.name.startswith(("GGUF.", "general.architecture")):
            sub_type = field.types[1] if len(field.types) > 1 else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub_type)
    four_bits = gguf.GGMLQuantizationType.Q4_0
    for tensor in reader.tensors:
        data, kind = tensor.data, tensor.tensor_type
        if kind in (four_bits, gguf.GGMLQuantizationType.Q4_1):
            data, kind = gguf.quantize(gguf.dequantize(data, kind), four_bits), four_bits
        writer.add_tensor(tensor.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


def plan_ways(kind: str, work: Path) -> dict[str, tuple[Path, EngineWish]]:
    """Return the model and the engine of each way of running one kind; write what is missing."""
    python, plain, packed = obtain_models()
    folder = packed.parent / kind
    repacked, rounded = work / f"{kind}.gguf", work / f"{kind}-head.gguf"
    _qtool("repack", str(folder), "-o", str(repacked))
    _qtool("repack", str(folder), "-o", str(rounded), "--embedding-q8")
    native = write_native(repacked, work / f"{kind}-native.gguf")
    options = EngineOptions(n_ctx_tokens=N_CTX)
    cpp = EngineWish(options=options)
    torch = EngineWish(kind=EngineKind.TRANSFORMERS, options=options, python=python)
    return {
        REPACKED: (repacked, cpp),
        HEAD_Q8: (rounded, cpp),
        NATIVE: (native, cpp),
        INT4: (folder, torch),
        GPTQMODEL: (folder, replace(torch, extra={"prefer_int4": False})),
        BFLOAT16: (plain, torch),
    }


def run_kind(kind: str, work: Path, n_rounds: int) -> tuple[Rounds, dict[str, Quality]]:
    """Return the rates of all ways of running one kind, and what the repacked ones keep of it."""
    python, _, packed = obtain_models()
    planned = plan_ways(kind, work)
    ways = {way: partial(measure, *which) for way, which in planned.items()}
    ways[LOOP] = partial(loop_rates, python, packed.parent / kind, work)
    rounds = [_one_round(kind, ways) for _ in range(n_rounds)]
    files = {way: planned[way][0] for way in (REPACKED, HEAD_Q8)}
    return rounds, {way: judge(file, packed.parent, kind) for way, file in files.items()}


def _one_round(kind: str, ways: Mapping[str, Callable[[], Rates]]) -> dict[str, Rates]:
    rates = {}
    for way, run in ways.items():
        rates[way] = run()
        print(f"{kind}: {way}: {rates[way]}", file=sys.stderr, flush=True)
    return rates


def over(rounds: "Rounds", way: str, other: str) -> float:
    """Return by how much ``way`` decodes faster than ``other``: the median of the rounds."""
    return median(rates[way].decode / rates[other].decode for rates in rounds)


def loop_rates(python: str, folder: Path, work: Path) -> Rates:
    """Return the rates of a script that calls ``generate`` in the type of the checkpoint."""
    said = [("user", "Hello!"), ("assistant", "Hi."), ("user", QUESTION * 30)]
    transcript = work / "said.json"
    transcript.write_text(json.dumps([{"role": who, "content": what} for who, what in said]))
    (reply,) = run_loop(python, folder, transcript, [1])
    return Rates(reply.prompt_tokens / reply.first_token_s, reply.rate)


def _qtool(*arguments: str, environ: Mapping[str, str] = os.environ) -> None:
    command = [sys.executable, "-m", "qtool", *arguments]
    subprocess.run(command, check=True, capture_output=True, env=dict(environ))


def time_chat(folder: Path, work: Path) -> tuple[float, float]:
    """Return the seconds until `qtool chat FOLDER` shows its prompt, and writes its first token;
    the folder has been repacked before."""
    own = {"QTOOL_CACHE": str(work / "cache"), "QTOOL_STATE": str(work / "state")}
    environ = {**os.environ, **own}
    _qtool("repack", str(folder), environ=environ)
    prompts, tokens = [], []
    for _ in range(N_ROUNDS):
        started_at = time.perf_counter()
        with Terminal("chat", str(folder), **own) as terminal:
            terminal.wait(">>>")
            prompts.append(time.perf_counter() - started_at)
        command = [sys.executable, "-m", "qtool", "chat", str(folder), "-p", "Hello!", "-m", "8"]
        started_at = time.perf_counter()
        with subprocess.Popen(
            command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdout is not None
            process.stdout.read(1)
            tokens.append(time.perf_counter() - started_at)
            process.stdout.read()
    return median(prompts), median(tokens)


def bars(
    rates: Mapping[str, Rounds],
    qualities: Mapping[str, Mapping[str, Quality]],
    prompt_s: float,
    token_s: float,
) -> Iterator[Bar]:
    """Yield what is promised."""
    for kind, rounds in rates.items():
        faster, limit = over(rounds, REPACKED, GPTQMODEL), f"at least {MIN_OVER_GPTQMODEL:g}"
        is_met = faster >= MIN_OVER_GPTQMODEL
        yield Bar(f"{kind}: decode over gptqmodel's", f"{faster:.2f}", limit, is_met)
        share, limit = over(rounds, REPACKED, NATIVE), f"at least {MIN_OVER_NATIVE:.0%}"
        yield Bar(f"{kind}: of native Q4_0", f"{share:.0%}", limit, share >= MIN_OVER_NATIVE)
        quality = qualities[kind][REPACKED]
        off = abs(quality.perplexity / quality.expected - 1)
        limit = f"at most {MAX_PERPLEXITY_OFF:.1%}"
        title = f"{kind}: perplexity off transformers'"
        yield Bar(title, f"{off:.2%}", limit, off <= MAX_PERPLEXITY_OFF)
    for what, taken_s, limit_s in (
        ("first prompt", prompt_s, MAX_PROMPT_S),
        ("first token", token_s, MAX_FIRST_TOKEN_S),
    ):
        limit = f"under {limit_s:g} s"
        yield Bar(f"`qtool chat FOLDER`: {what}", f"{taken_s:.2f} s", limit, taken_s < limit_s)


def page(
    rates: Mapping[str, Rounds],
    qualities: Mapping[str, Mapping[str, Quality]],
    kept: Sequence[Bar],
    others: str,
) -> str:
    """Return the figures in Markdown; ``others`` says what else ran."""
    used = f"qtool {version('qtool')}, xllamacpp {version('xllamacpp')}"
    n_rounds = len(next(iter(rates.values())))
    parts = [HEAD.format(n_new=N_NEW, n_rounds=n_rounds)]
    parts.append(f"{datetime.now(UTC):%Y-%m-%d}, {describe_machine()}.\n{used}, {others}.\n")
    parts += ["## Promises\n", promises(kept), ABOUT_AWQ]
    for what in ("decode", "prefill"):
        ways = next(iter(rates.values()))[0]
        rows = [
            (way, *(f"{_median(rounds, way, what):.1f}" for rounds in rates.values()))
            for way in ways
        ]
        parts += [f"## {what.capitalize()}, tokens/s\n", table(("", *rates), rows)]
    judged = [
        (kind, way, f"{one.perplexity:.3f}", f"{one.expected:.3f}", f"{one.top:.1%}")
        for kind, by_way in qualities.items()
        for way, one in by_way.items()
    ]
    columns = ("", "", "perplexity", "transformers, float32", "same top token")
    parts += ["## What is kept\n", table(columns, judged)]
    return "\n".join(parts)


def _median(rounds: Rounds, way: str, what: str) -> float:
    return median(getattr(rates[way], what) for rates in rounds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--rounds", type=int, default=N_ROUNDS)
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page there, too")
    chosen = parser.parse_args()
    rates, qualities, others = {}, {}, describe_load()
    with tempfile.TemporaryDirectory(prefix="bench-quantised-") as folder:
        work = Path(folder)
        for kind in chosen.kinds:
            rates[kind], qualities[kind] = run_kind(kind, work, chosen.rounds)
        packed = obtain_models()[2].parent / chosen.kinds[0]
        kept = list(bars(rates, qualities, *time_chat(packed, work)))
    text = page(rates, qualities, kept, others)
    if chosen.write:
        chosen.write.write_text(text, encoding="utf-8")
    print(text)
    return 0 if all(bar.is_met for bar in kept) else 1


if __name__ == "__main__":
    sys.exit(main())
