"""What runs how: for each format the engine, the device, the memory and the expected speed. Pure.

Nothing here was measured on a GPU; speeds are estimates from memory bandwidth.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from qtool.doctor import facts
from qtool.doctor.answers import awq_answers, gptq_answers
from qtool.doctor.case import Case, runs_on
from qtool.doctor.finding import Goal
from qtool.doctor.fit import Device, Fit, fit_on
from qtool.doctor.repacked import runs_repacked
from qtool.doctor.rules.awq import awq_kernels
from qtool.doctor.rules.gptq import gptq_kernels
from qtool.doctor.rules.kernels import KernelState
from qtool.doctor.snapshot import UNKNOWN
from qtool.models.info import ModelFormat, ModelInfo

# Without a model every format is judged that the usual repositories come in.
COMMON_FORMATS = (ModelFormat.GGUF, ModelFormat.GPTQ, ModelFormat.AWQ, ModelFormat.PLAIN)
INT4PACK_GROUP_SIZES = (16, 32, 64, 128)


@dataclass(frozen=True, slots=True)
class Route:
    """How a format would run in an environment, before memory is looked at."""

    runs: bool
    why: str
    engine: str | None = None
    device: Device | None = None
    kernel: str | None = None


@dataclass(frozen=True, slots=True)
class FormatVerdict:
    """The verdict on one format. ``tokens_per_s_estimate`` is an estimate and nothing more."""

    runs: bool
    engine: str | None
    device: Device | None
    why: str
    kernel: str | None = None
    fit: Fit | None = None
    tokens_per_s_estimate: float | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; ``memory`` is null without a model."""
        return {
            "runs": self.runs,
            "engine": self.engine,
            "device": self.device,
            "why": self.why,
            "kernel": self.kernel,
            "memory": _memory_to_json(self.fit) if self.fit else None,
            "tokens_per_s_estimate": self.tokens_per_s_estimate,
            "notes": list(self.notes),
        }


Verdict = Mapping[str, FormatVerdict]


def judge(case: Case) -> Verdict:
    """Return the verdict by format: the model's, or the common ones without a model."""
    formats = (case.model.format,) if case.model else COMMON_FORMATS
    if case.model is None and case.goal is Goal.BNB:
        formats = (*formats, ModelFormat.BITSANDBYTES)
    return {form.value: judge_format(case, form) for form in formats}


def judge_format(case: Case, form: ModelFormat) -> FormatVerdict:
    """Return the verdict on one format, with memory and speed where the case has a model."""
    route = _ROUTES.get(form, _route_unknown)(case)
    fit = fit_on(case, case.model, route.device) if case.model and route.device else None
    runs, why = route.runs, route.why
    if fit and fit.fits is False and not _can_split(case, form, fit):
        runs, why = False, f"{why}; but it does not fit into memory"
    return FormatVerdict(
        runs=runs,
        engine=route.engine,
        device=route.device,
        why=why,
        kernel=route.kernel,
        fit=fit,
        tokens_per_s_estimate=_tokens_per_s(case, route) if runs else None,
        notes=(*_notes(case, form), *_notes_on_chat(route if runs else None)),
    )


def _can_split(case: Case, form: ModelFormat, fit: Fit) -> bool:
    """Tell whether llama.cpp can keep in RAM what the GPU has no room for."""
    if form is not ModelFormat.GGUF or fit.n_gpu_layers is None or case.model is None:
        return False
    return fit_on(case, case.model, Device.CPU).fits is not False


def _notes(case: Case, form: ModelFormat) -> tuple[str, ...]:
    if form is ModelFormat.GPTQ:
        return gptq_answers(case)
    return awq_answers(case) if form is ModelFormat.AWQ else ()


def _notes_on_chat(route: Route | None) -> tuple[str, ...]:
    """Say how to talk to an engine that qtool chat does not start itself."""
    if route is None or route.engine in ("llama.cpp", "transformers"):
        return ()
    return (f"{route.engine} runs it; start its server, then: qtool chat --endpoint URL",)


# --- routes ---------------------------------------------------------------------------------


def _route_gguf(case: Case) -> Route:
    files = " ".join(case.snapshot.ext_files.get("llama-cpp-python", ()))
    if case.gpus and "ggml-cuda" in files:
        why = "llama-cpp-python in this environment is built with CUDA"
        return Route(True, why, "llama.cpp", Device.CUDA)
    if case.snapshot.llama_cpp is None and not case.has("llama-cpp-python"):
        return Route(False, "there is no llama.cpp: neither xllamacpp nor llama-server")
    system = (case.snapshot.os.system, case.snapshot.os.arch)
    device = Device.METAL if system == ("Darwin", "arm64") else Device.CPU
    how = case.snapshot.llama_cpp or (
        "llama-cpp-python" if case.has("llama-cpp-python") else "xllamacpp, which qtool brings"
    )
    why = f"llama.cpp by {how}"
    if case.gpus:
        why += "; the GPU is not used, for that takes a llama.cpp built with CUDA"
    return Route(True, why, "llama.cpp", device)


def _route_repacked(case: Case) -> Route | None:
    """On a CPU llama.cpp runs GPTQ and AWQ several times faster, after a repack without loss."""
    if not runs_repacked(case):
        return None
    why = "llama.cpp on the CPU, after a repack without loss that qtool chat does by itself"
    return Route(True, why, "llama.cpp", Device.CPU)


def _route_gptq(case: Case) -> Route:
    if repacked := _route_repacked(case):
        return repacked
    device, why = torch_device(case)
    if device is None:
        return Route(False, why)
    if _loads_gptq_by_gptqmodel(case):
        kernel = _gptqmodel_kernel(case, device)
        return Route(True, f"transformers with gptqmodel; {why}", "transformers", device, kernel)
    is_heard = case.has_within("transformers", "<5") or case.lacks("transformers")
    if case.has("auto-gptq") and is_heard and device is Device.CUDA:
        report = gptq_kernels(case)
        if report.state is KernelState.LOADS:
            why = f"auto-gptq, whose kernels load; {why}"
            return Route(True, why, "transformers", device, "exllamav2")
        if report.state is KernelState.UNKNOWN:
            return Route(False, "auto-gptq is there, but whether its kernels load is unknown")
        return Route(False, "auto-gptq is there, but its CUDA kernels do not work")
    if case.has("auto-gptq") and is_heard:
        return Route(False, "auto-gptq on a CPU crawls (0.1 to 0.5 tokens per second)")
    return Route(False, "no gptqmodel for this transformers, and no auto-gptq it would use")


def _loads_gptq_by_gptqmodel(case: Case) -> bool:
    if not case.has("optimum") and case.snapshot.dists is not UNKNOWN:
        return False
    if case.has_within("transformers", ">=5"):
        return case.has_within("gptqmodel", facts.fact("gptqmodel", "written_for_transformers_5"))
    first = facts.fact("gptqmodel", "known_to_transformers_from")
    return case.has_within("transformers", f">={first}") and case.has_within("gptqmodel", ">=1.4.3")


def _gptqmodel_kernel(case: Case, device: Device) -> str | None:
    quantization = case.model.quantization if case.model else None
    if quantization is None:
        return None
    if device is Device.CPU:
        is_fast = quantization.bits == 4 and quantization.group_size in INT4PACK_GROUP_SIZES
        return "int4pack" if is_fast else "torch (slow)"
    lowest = (7, 5) if case.has_within("gptqmodel", ">=6.1") else (8, 0)
    has_marlin = all(one >= lowest for one in case.capabilities)
    return "marlin" if has_marlin and quantization.bits in (4, 8) else "exllamav2"


def _route_awq(case: Case) -> Route:
    if repacked := _route_repacked(case):
        return repacked
    device, why = torch_device(case)
    if device is None:
        return Route(False, why)
    if case.has_within("transformers", ">=5"):
        needed = facts.fact("gptqmodel", "written_for_transformers_5")
        if case.has_within("gptqmodel", needed):
            return Route(True, f"transformers 5 with gptqmodel; {why}", "transformers", device)
        return Route(False, f"transformers 5 loads AWQ through gptqmodel{needed} only")
    if not case.has("autoawq"):
        return Route(False, "no autoawq, and no transformers 5 with gptqmodel")
    if case.has_within("transformers", ">=4.57"):
        return Route(False, "autoawq cannot be imported with this transformers")
    if device is not Device.CUDA:
        return Route(False, "autoawq needs a GPU (on a CPU it asks for IPEX, which is retired)")
    if case.has("autoawq-kernels") and awq_kernels(case).state is KernelState.LOADS:
        return Route(True, f"autoawq with its kernels; {why}", "transformers", device, "awq_ext")
    lowest = facts.capability("features", "lowest_triton")
    if all(one >= lowest for one in case.capabilities):
        return Route(True, f"autoawq through Triton; {why}", "transformers", device, "triton")
    return Route(False, "autoawq has no kernel for this GPU, and neither has Triton")


def _route_plain(case: Case) -> Route:
    device, why = torch_device(case)
    if device is None:
        return Route(False, why)
    if not case.has("transformers"):
        return Route(False, "transformers is not installed")
    return Route(True, f"transformers; {why}", "transformers", device)


def _route_bitsandbytes(case: Case) -> Route:
    plain = _route_plain(case)
    if not plain.runs or case.has("bitsandbytes"):
        return plain
    return Route(False, "bitsandbytes is not installed")


def _route_unknown(case: Case) -> Route:
    if case.has("vllm") and case.gpus:
        return Route(True, "vLLM is installed and reads most formats", "vllm", Device.CUDA)
    return Route(False, "none of qtool's engines but vLLM reads this format")


_ROUTES: dict[ModelFormat, Callable[[Case], Route]] = {
    ModelFormat.GGUF: _route_gguf,
    ModelFormat.GPTQ: _route_gptq,
    ModelFormat.AWQ: _route_awq,
    ModelFormat.PLAIN: _route_plain,
    ModelFormat.BITSANDBYTES: _route_bitsandbytes,
}


def torch_device(case: Case) -> tuple[Device | None, str]:
    """Return where the installed torch would compute, and why."""
    build = case.torch
    if build is None:
        is_missing = case.snapshot.torch is None or case.lacks("torch")
        return None, "torch is not installed" if is_missing else "nothing is known of torch"
    if not case.gpus:
        return Device.CPU, "on the CPU, for there is no NVIDIA GPU"
    if not case.torch_cuda:
        return Device.CPU, "on the CPU, for torch is a CPU build"
    if case.driver_runs(case.torch_cuda[0]) is False or case.snapshot.nvml_error:
        return Device.CPU, "on the CPU, for the driver does not serve this torch"
    archs = build.arch_list
    if archs is not UNKNOWN and case.capabilities:
        has_code = any(runs_on(one, archs) for one in case.capabilities)
        if not has_code:
            return Device.CPU, "on the CPU, for torch has no code for this GPU"
    return Device.CUDA, f"on the {case.gpus[0].name}"


# --- speed ----------------------------------------------------------------------------------


def _tokens_per_s(case: Case, route: Route) -> float | None:
    """Estimate decoding speed: every token reads all weights once and multiplies them.

    Few cores multiply more slowly than memory delivers; the slower of the two counts. Of mixtures
    of experts only some weights are read, how many is not known here: no estimate.
    """
    model = case.model
    if model is None or not model.weights_bytes or "moe" in (model.architecture or "").lower():
        return None
    bandwidth = _bandwidth(case, route)
    share = _bandwidth_share(route, model)
    if not bandwidth or not share:
        return None
    rate = bandwidth * share
    core_rate = facts.fact("throughput", "core_bytes_per_s").get(f"{route.engine} {route.device}")
    if core_rate and case.snapshot.cpu and case.snapshot.cpu.n_cores:
        rate = min(rate, core_rate * case.snapshot.cpu.n_cores)
    return round(rate / model.weights_bytes, 1)


def _bandwidth(case: Case, route: Route) -> float | None:
    if route.device is Device.CPU:
        return case.snapshot.memory_bandwidth_bytes_per_s or None
    known = [facts.bandwidth_bytes_per_s(gpu.name) for gpu in case.gpus]
    return min((one for one in known if one), default=None) if all(known) else None


def _bandwidth_share(route: Route, model: ModelInfo) -> float | None:
    is_quantized = model.format not in (ModelFormat.PLAIN, ModelFormat.GGUF)
    is_unpacked = is_quantized and route.engine == "transformers"
    suffix = " quantized" if is_unpacked and route.device is Device.CPU else ""
    shares = facts.fact("throughput", "bandwidth_share")
    share: float | None = shares.get(f"{route.engine} {route.device}{suffix}")
    return share


def _memory_to_json(fit: Fit) -> dict[str, Any]:
    return {
        "weights_bytes": fit.need.weights_bytes,
        "kv_cache_bytes": fit.need.kv_cache_bytes if fit.need.is_kv_known else None,
        "overhead_bytes": fit.need.overhead_bytes,
        "total_bytes": fit.need.total_bytes,
        "available_bytes": fit.available_bytes,
        "fits": fit.fits,
        "n_ctx_tokens": fit.n_ctx_tokens,
        "n_ctx_max_tokens": fit.n_ctx_max_tokens,
        "n_gpu_layers": fit.n_gpu_layers,
    }
