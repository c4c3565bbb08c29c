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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import gguf

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT)]

from chat import obtain_models, run_loop  # noqa: E402 - after the path
from contest import Bar  # noqa: E402
from report import describe_machine, promises, table  # noqa: E402

from qtool.chat.client import connect, request_json  # noqa: E402
from qtool.chat.plan import EngineWish, plan_engine  # noqa: E402
from qtool.engines.base import Endpoint, EngineKind, EngineOptions  # noqa: E402
from qtool.models.local import LocalModel  # noqa: E402
from tests.cli.terminal import Terminal  # noqa: E402

KINDS = ("gptq-32", "gptq-64", "awq-64")
N_RUNS, N_NEW, N_CTX = 3, 128, 2048
MIN_OVER_GPTQMODEL, MIN_OVER_NATIVE = 3.0, 0.9
MAX_PROMPT_S, MAX_FIRST_TOKEN_S = 0.5, 2.0
QUESTION = "Write a very long story about a lighthouse, its keeper and the sea. "
REPACKED, NATIVE, INT4 = "repacked, llama.cpp", "native Q4_0, llama.cpp", "transformers, int4pack"
GPTQMODEL, BFLOAT16 = "transformers, gptqmodel", "transformers, bfloat16"
LOOP = "script, gptqmodel"

HEAD = """# Quantised models on a CPU, measured

`python scripts/bench/quantised.py` wrote this page: SmolLM2-135M-Instruct packed as symmetric GPTQ
and AWQ, {n_new} greedy tokens after a prompt of some 450, through qtool's own engines, medians of
{n_runs} runs. "native" is the same model as llama.cpp's Q4_0, its head and embedding in F16 as in
the repacked one; "script" one call of `generate` in the checkpoint's type, float16, without qtool.
Nothing of this was measured on a GPU.
"""


@dataclass(frozen=True, slots=True)
class Rates:
    """Tokens per second, as the client sees them."""

    prefill: float
    decode: float


def measure(model: Path, wish: EngineWish) -> Rates:
    """Start an engine, let it write a few times, and return the medians."""
    with plan_engine(LocalModel(model), wish).keeper as keeper:
        endpoint = keeper.endpoint()
        _ask(endpoint, "warm up", 8)
        runs = [_ask(endpoint, f"{number}. {QUESTION * 30}", N_NEW) for number in range(N_RUNS)]
    return Rates(median(run.prefill for run in runs), median(run.decode for run in runs))


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


def run_all(kinds: Sequence[str], work: Path) -> dict[str, dict[str, Rates]]:
    """Return the rates of all ways by kind."""
    python, plain, packed = obtain_models()
    options = EngineOptions(n_ctx_tokens=N_CTX)
    cpp = EngineWish(options=options)
    torch = {"kind": EngineKind.TRANSFORMERS, "options": options, "python": python}
    dense = _timed(BFLOAT16, plain, EngineWish(**torch))
    rates = {}
    for kind in kinds:
        folder, repacked = packed.parent / kind, work / f"{kind}.gguf"
        _qtool("repack", str(folder), "-o", str(repacked))
        native = write_native(repacked, work / f"{kind}-native.gguf")
        rates[kind] = {
            REPACKED: _timed(REPACKED, repacked, cpp),
            NATIVE: _timed(NATIVE, native, cpp),
            INT4: _timed(INT4, folder, EngineWish(**torch)),
            GPTQMODEL: _timed(GPTQMODEL, folder, EngineWish(**torch, extra={"prefer_int4": False})),
            LOOP: loop_rates(python, folder, work),
            BFLOAT16: dense,
        }
    return rates


def loop_rates(python: str, folder: Path, work: Path) -> Rates:
    """Return the rates of a script that calls ``generate`` in the type of the checkpoint."""
    said = [("user", "Hello!"), ("assistant", "Hi."), ("user", QUESTION * 30)]
    transcript = work / "said.json"
    transcript.write_text(json.dumps([{"role": who, "content": what} for who, what in said]))
    (reply,) = run_loop(python, folder, transcript, [1])
    return Rates(reply.prompt_tokens / reply.first_token_s, reply.rate)


def _timed(name: str, model: Path, wish: EngineWish) -> Rates:
    rates = measure(model, wish)
    print(f"{model.name}: {name}: {rates}", file=sys.stderr, flush=True)
    return rates


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
    for _ in range(N_RUNS):
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
    rates: Mapping[str, Mapping[str, Rates]], prompt_s: float, token_s: float
) -> Iterator[Bar]:
    """Yield what is promised."""
    for kind, by_way in rates.items():
        decode = by_way[REPACKED].decode
        over = decode / by_way[GPTQMODEL].decode
        limit = f"at least {MIN_OVER_GPTQMODEL:g}"
        yield Bar(f"{kind}: over gptqmodel", f"{over:.2f}", limit, over >= MIN_OVER_GPTQMODEL)
        share, limit = decode / by_way[NATIVE].decode, f"at least {MIN_OVER_NATIVE:.0%}"
        yield Bar(f"{kind}: of native Q4_0", f"{share:.0%}", limit, share >= MIN_OVER_NATIVE)
    for what, taken_s, limit_s in (
        ("first prompt", prompt_s, MAX_PROMPT_S),
        ("first token", token_s, MAX_FIRST_TOKEN_S),
    ):
        limit = f"under {limit_s:g} s"
        yield Bar(f"`qtool chat FOLDER`: {what}", f"{taken_s:.2f} s", limit, taken_s < limit_s)


def page(rates: Mapping[str, Mapping[str, Rates]], kept: Sequence[Bar]) -> str:
    """Return the figures in Markdown."""
    used = f"qtool {version('qtool')}, xllamacpp {version('xllamacpp')}"
    parts = [HEAD.format(n_new=N_NEW, n_runs=N_RUNS)]
    parts.append(f"{datetime.now(UTC):%Y-%m-%d}, {describe_machine()}.\n{used}.\n")
    parts += ["## Promises\n", promises(kept)]
    ways = list(next(iter(rates.values())))
    for what in ("decode", "prefill"):
        rows: list[tuple[Any, ...]] = [
            (kind, *(f"{getattr(by_way[way], what):.1f}" for way in ways))
            for kind, by_way in rates.items()
        ]
        parts += [f"## {what.capitalize()}, tokens/s\n", table(("", *ways), rows)]
    return "\n".join(parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page there, too")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-quantised-") as work:
        rates = run_all(chosen.kinds, Path(work))
        folder = obtain_models()[2].parent / chosen.kinds[0]
        kept = list(bars(rates, *time_chat(folder, Path(work))))
    text = page(rates, kept)
    if chosen.write:
        chosen.write.write_text(text, encoding="utf-8")
    print(text)
    return 0 if all(bar.is_met for bar in kept) else 1


if __name__ == "__main__":
    sys.exit(main())
