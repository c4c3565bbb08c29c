"""Run one quantized matrix product, compare it with fp32, and time it; in the examined Python.

``kernel_child.py KIND SETTINGS REPORT``. KIND is ``half`` (torch alone, not quantized),
``int4pack`` (torch's CPU kernel), ``gptq`` or ``awq`` (a checkpoint loaded through transformers,
which chooses the engine and its kernel as it does for every program). SETTINGS is a JSON object:
``KernelSettings`` in ``kernel_tasks.py``. Needs torch, and for checkpoints transformers; nothing
of qtool's.

The weights are random, but everything else is as in use: a batch of one row, as in decoding, and
more weights than a cache holds, each read once a round.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
checkpoint: Any = importlib.import_module("kernel_checkpoint")  # beside this file
sys.path[:] = [path for path in sys.path if path != HERE]  # not the examined environment's
MAX_TEXT = 600
MIN_ROUNDS, MAX_ROUNDS = 3, 200


def main(kind: str, settings: dict[str, Any], report: str) -> None:
    """Measure, and write down what came of it or what was raised."""
    limit_damage()
    try:
        torch = importlib.import_module("torch")
        torch.manual_seed(0)
        device = choose_device(torch, settings["device"])
        with torch.no_grad():
            found = KINDS[kind](torch, device, settings)
            copied = 2 * settings["budget_bytes"]
            found["bandwidth_bytes_per_s"] = measure_bandwidth(torch, device, copied)
        found.update(device=device.type, device_name=name_of(torch, device))
    except BaseException as exc:  # noqa: BLE001 - SystemExit too: an engine may raise anything
        found = {"failed": describe(exc)}
    with open(report + ".new", "w") as file:  # noqa: PTH123
        json.dump(found, file)
    os.replace(report + ".new", report)  # noqa: PTH105
    os._exit(0)


def describe(exc: BaseException) -> dict[str, Any]:
    """Return an exception's type, the last line of its text, and the package's line that raised."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    frames = traceback.extract_tb(exc.__traceback__)
    places = [frame[0].replace("\\", "/").partition("-packages/")[2] for frame in frames]
    where = [f"{place}:{frame[1]}" for place, frame in zip(places, frames) if place]
    return {
        "type": type(exc).__name__,
        "text": (lines or [""])[-1][-MAX_TEXT:],
        "where": (where or [""])[-1],
    }


def limit_damage() -> None:
    """Leave no core file behind; on Linux end with the process that asked, and go first."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if sys.platform.startswith("linux"):
            with open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123
                file.write("1000")  # where memory runs out, this goes first
            import ctypes

            ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL: see prctl(2)
    except (ImportError, OSError, ValueError, AttributeError):
        pass


def choose_device(torch: Any, wanted: str) -> Any:
    """Return the device, which has to be there: to compute elsewhere would prove nothing."""
    device = torch.device(wanted)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("torch.cuda.is_available() is False")
    return device


def name_of(torch: Any, device: Any) -> str:
    """Return the GPU's name as torch knows it; a CPU is named by others."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else ""


# --- what is measured -----------------------------------------------------------------------


def run_half(torch: Any, device: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """Multiply by half-precision weights: what every quantized kernel has to be better than."""
    dtype = torch.float16 if device.type == "cuda" else torch.bfloat16
    n_inputs, n_outputs = settings["hidden"], settings["intermediate"]
    count = max(1, settings["budget_bytes"] // (2 * n_inputs * n_outputs))
    weights = [torch.randn(n_outputs, n_inputs).to(device, dtype) for _ in range(count)]
    x = torch.randn(1, n_inputs).to(device, dtype)
    multiply = torch.nn.functional.linear
    error = relative_error(multiply(x, weights[0]), x.cpu().float() @ weights[0].cpu().float().t())
    rounds = time_rounds(torch, device, [lambda w=w: multiply(x, w) for w in weights], settings)
    n_bytes = 2 * n_inputs * n_outputs
    return result("torch", "linear", error, rounds, count, n_bytes * count, dtype)


def run_int4pack(torch: Any, device: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """Multiply by torch's own 4-bit kernel for CPUs."""
    pack = torch.ops.aten._convert_weight_to_int4pack_for_cpu
    multiply = torch.ops.aten._weight_int4pack_mm_for_cpu
    n_inputs, n_outputs, group = (settings[k] for k in ("hidden", "intermediate", "group"))
    n_bytes = checkpoint.packed_bytes(n_inputs, n_outputs, 4, group)
    count = max(1, settings["budget_bytes"] // n_bytes)
    x = torch.randn(1, n_inputs).bfloat16()
    calls, error = [], 0.0
    for index in range(count):
        codes = torch.randint(0, 16, (n_outputs, n_inputs), dtype=torch.int32)
        scales = checkpoint.random_scales(torch, n_inputs // group, n_outputs).bfloat16()
        table = torch.stack((scales, torch.zeros_like(scales)), 2).contiguous()
        packed = pack(codes, 1)
        calls.append(lambda p=packed, t=table: multiply(x, p, group, t))
        if index == 0:
            weight = (codes.t() - 8).float() * scales.float().repeat_interleave(group, 0)
            error = relative_error(calls[0](), x.float() @ weight)
    rounds = time_rounds(torch, device, calls, settings)
    name = "_weight_int4pack_mm_for_cpu"
    return result("torch", name, error, rounds, count, n_bytes * count, torch.bfloat16)


def run_checkpoint(
    method: str, torch: Any, device: Any, settings: dict[str, Any]
) -> dict[str, Any]:
    """Load a checkpoint as every program does, and multiply by its layers one by one."""
    transformers = importlib.import_module("transformers")
    shapes = checkpoint.shapes_of(settings)
    kept = checkpoint.write_checkpoint(torch, method, settings, shapes)
    options = {"device_map": {"": str(device)}, "torch_dtype": torch.float16}
    if method == "gptq" and settings["without_exllama"]:
        options["quantization_config"] = transformers.GPTQConfig(
            bits=settings["bits"], use_exllama=False
        )
    model = transformers.AutoModelForCausalLM.from_pretrained(".", **options).eval()
    modules = {name: module for name, module in model.named_modules() if name in shapes}
    inputs = {n: torch.randn(1, shapes[n][0]).to(device, torch.float16) for n in modules}
    outputs = {name: modules[name](inputs[name]) for name in kept}
    check_devices(device, outputs.values())
    errors = [
        relative_error(outputs[name], inputs[name].cpu().float() @ weight)
        for name, weight in kept.items()
    ]
    calls = [lambda m=m, x=inputs[n]: m(x) for n, m in modules.items()]
    rounds = time_rounds(torch, device, calls, settings)
    n_bytes = sum(
        checkpoint.packed_bytes(*shapes[n], settings["bits"], settings["group"]) for n in modules
    )
    kernel = type(modules[next(iter(kept))])
    engine, dtype = kernel.__module__.partition(".")[0], torch.float16
    return result(engine, kernel.__name__, max(errors), rounds, len(calls), n_bytes, dtype)


def check_devices(device: Any, outputs: Any) -> None:
    """Make sure that what was asked to compute did: accelerate moves layers without a word."""
    for output in outputs:
        if output.device.type != device.type:
            raise RuntimeError(f"computed on {output.device} instead of {device}")


def result(
    engine: str, kernel: str, error: float, rounds: list[float], n_calls: int, n_bytes: int,
    dtype: Any,
) -> dict[str, Any]:  # fmt: skip
    """Return a measurement; a round is ``n_calls`` products that read ``n_bytes`` in all.

    The lower quartile counts: what other programs take from the machine for a moment does not.
    """
    seconds = sorted(rounds)[len(rounds) // 4]
    return {
        "engine": engine,
        "kernel": kernel,
        "dtype": str(dtype).rpartition(".")[2],
        "relative_error": error,
        "seconds_per_call": seconds / n_calls,
        "bytes_per_call": n_bytes // n_calls,
        "n_rounds": len(rounds),
    }


def relative_error(got: Any, expected: Any) -> float:
    """Return the distance from the reference, as a part of the reference's length."""
    difference = got.detach().float().cpu() - expected
    return float(difference.norm() / expected.norm())


# --- time -----------------------------------------------------------------------------------


def time_rounds(torch: Any, device: Any, calls: Any, settings: dict[str, Any]) -> list[float]:
    """Return the seconds of each round of calls, after one that warms up."""
    for call in calls:
        call()
    wait(torch, device)
    rounds: list[float] = []
    until = time.perf_counter() + settings["measure_s"]
    while len(rounds) < MIN_ROUNDS or (time.perf_counter() < until and len(rounds) < MAX_ROUNDS):
        began = time.perf_counter()
        for call in calls:
            call()
        wait(torch, device)
        rounds.append(time.perf_counter() - began)
        if rounds[0] > settings["measure_s"]:
            break
    return rounds


def wait(torch: Any, device: Any) -> None:
    """Wait for a GPU to have done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure_bandwidth(torch: Any, device: Any, n_bytes: int) -> float:
    """Return the bytes per second that a large copy moves on the device; each byte counts twice."""
    source = torch.ones(n_bytes // 4, device=device)
    target = torch.empty_like(source)
    rounds = time_rounds(torch, device, [lambda: target.copy_(source)], {"measure_s": 0.3})
    return 2 * n_bytes / sorted(rounds)[len(rounds) // 4]


KINDS: dict[str, Any] = {
    "half": run_half,
    "int4pack": run_int4pack,
    "gptq": lambda torch, device, settings: run_checkpoint("gptq", torch, device, settings),
    "awq": lambda torch, device, settings: run_checkpoint("awq", torch, device, settings),
}

if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3])
