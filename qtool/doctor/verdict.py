"""What runs how: for each format the engine, the device, the memory and the expected speed. Pure.

Nothing here was measured on a GPU; speeds are estimates from memory bandwidth.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from qtool.doctor import facts
from qtool.doctor.answers import awq_answers, gptq_answers
from qtool.doctor.case import Case, GpuFacts
from qtool.doctor.finding import Fix, Goal
from qtool.doctor.fit import Device, Fit, FitKind, fit_on, fit_on_gpu
from qtool.doctor.fixes import smaller_variant
from qtool.doctor.inside import case_within
from qtool.doctor.kernels import KernelState, flash_attn_kernels
from qtool.doctor.llama_programs import by_naming_python
from qtool.doctor.measured import as_measured
from qtool.doctor.proven_sets import environment_for, proven_set
from qtool.doctor.repacked import as_run
from qtool.doctor.routes import WRITTEN_OUT, Route, find_route
from qtool.doctor.speed import tokens_per_s, tokens_per_s_on
from qtool.doctor.versions import capability_words
from qtool.language.message import say
from qtool.models.info import ModelFormat, ModelInfo

if TYPE_CHECKING:
    from qtool.envs.environment import Environment

# Without a model every format is judged that the usual repositories come in.
COMMON_FORMATS = (ModelFormat.GGUF, ModelFormat.GPTQ, ModelFormat.AWQ, ModelFormat.PLAIN)
_HALF_BY_CPU = ("avx512_bf16", "amx_bf16", "bf16")


@dataclass(frozen=True, slots=True)
class GpuRow:
    """One of several GPUs, and how the model would do on it alone."""

    index: int
    gpu: GpuFacts
    fit: Fit
    tokens_per_s_estimate: float | None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        capability = self.gpu.capability
        return {
            "index": self.index,
            "name": self.gpu.name,
            "compute_capability": capability_words(capability) if capability else None,
            "vram_bytes": self.gpu.vram_bytes,
            "fits": self.fit.fits,
            "fit": self.fit.kind.value,
            "n_ctx_max_tokens": self.fit.n_ctx_max_tokens,
            "n_gpu_layers": self.fit.n_gpu_layers,
            "tokens_per_s_estimate": self.tokens_per_s_estimate,
        }


@dataclass(frozen=True, slots=True)
class FormatVerdict:
    """The verdict on one format. ``tokens_per_s_estimate`` is an estimate and nothing more.

    ``dtype`` and ``attention`` are what qtool's engine computes with. ``cures`` are alternatives:
    environments or variants of the model with which it would run, or run on the GPU. ``gpus`` is
    empty unless there are several that take part. ``environment`` names the one of qtool's own
    that runs it, where the examined one does not.
    """

    runs: bool
    engine: str | None
    device: Device | None
    why: str
    kernel: str | None = None
    dtype: str | None = None
    attention: str | None = None
    fit: Fit | None = None
    tokens_per_s_estimate: float | None = None
    notes: tuple[str, ...] = ()
    cures: tuple[Fix, ...] = ()
    gpus: tuple[GpuRow, ...] = ()
    environment: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; ``memory`` is null without a model."""
        return {
            "runs": self.runs,
            "engine": self.engine,
            "device": self.device,
            "why": self.why,
            "kernel": self.kernel,
            "dtype": self.dtype,
            "attention": self.attention,
            "memory": _memory_to_json(self.fit) if self.fit else None,
            "tokens_per_s_estimate": self.tokens_per_s_estimate,
            "notes": list(self.notes),
            "fixes": [{"title": one.title, "commands": list(one.commands)} for one in self.cures],
            "gpus": [row.to_json() for row in self.gpus],
            "environment": self.environment,
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
    route = as_measured(case, form, find_route(case, form))
    if not route.runs and route.lacks_packages and (own := environment_for(case, form)):
        return _judge_elsewhere(case, form, own)
    return _judge_route(case, form, route)


def _judge_elsewhere(case: Case, form: ModelFormat, own: "Environment") -> FormatVerdict:
    """Return the verdict on a format in an environment of qtool's, which was proven to run it."""
    inside = case_within(case, own)
    route = find_route(inside, form)
    if not route.runs:  # its record does not tell all that the proof has seen
        route = Route(True, say("{engine}, as proven", engine=own.engine), own.engine, Device.CPU)
    found = _judge_route(inside, form, route)
    why = say("with --env {name}, an environment of qtool's: {why}", name=own.name, why=found.why)
    use = proven_set(case, form)
    return replace(
        found,
        why=why,
        notes=_notes(case, form),
        cures=(*((use,) if use and found.runs else ()), *found.cures),
        environment=own.name if found.runs else None,
    )


def _judge_route(case: Case, form: ModelFormat, route: Route) -> FormatVerdict:
    model = _as_held(as_run(case), route)
    fit = fit_on(case, model, route.device) if model and route.device else None
    runs, why = _weigh(case, form, route, fit)
    speed = None
    if runs and model and route.device:
        speed = tokens_per_s(case, model, route.engine, route.device)
    return FormatVerdict(
        runs=runs,
        engine=route.engine,
        device=route.device,
        why=why,
        kernel=route.kernel,
        dtype=_dtype(case, form, route),
        attention=_attention(case, route),
        fit=fit,
        tokens_per_s_estimate=speed,
        notes=_notes(case, form),
        cures=_cures(case, form, route, fit),
        gpus=_gpu_rows(case, model, route),
    )


def _weigh(case: Case, form: ModelFormat, route: Route, fit: Fit | None) -> tuple[bool, str]:
    """Say whether it runs, and why, once its memory is known as well.

    A context that nobody asked for may be shorter, as `qtool chat` will choose it.
    """
    if not route.runs or fit is None:
        return route.runs, route.why
    match fit.kind:
        case FitKind.WITH_CONTEXT if not case.is_ctx_asked:
            longest = fit.n_ctx_max_tokens
            return True, say(
                "{why}; with a context of at most {longest} tokens", why=route.why, longest=longest
            )
        case FitKind.WITH_CONTEXT | FitKind.DOES_NOT_FIT:
            return False, say("{why}; but it does not fit into memory", why=route.why)
        case _:
            return True, route.why


def _as_held(model: ModelInfo | None, route: Route) -> ModelInfo | None:
    """Return the model as its engine holds it: qtool's transformers server keeps every token,
    also where a layer looks at a window of them only, and writes out what no kernel multiplies."""
    if model is not None and route.kernel == WRITTEN_OUT and model.n_params:
        model = replace(model, weights_bytes=2 * model.n_params)
    if model is None or model.attention is None or route.engine != "transformers":
        return model
    return replace(model, attention=replace(model.attention, sliding_window=None))


def _cures(case: Case, form: ModelFormat, route: Route, fit: Fit | None) -> tuple[Fix, ...]:
    found: list[Fix | None] = [by_naming_python(case) if route.wants_gpu_build else None]
    if route.lacks_packages or route.wants_gpu_build:
        found.append(proven_set(case, form))
    if fit and fit.kind in (FitKind.DOES_NOT_FIT, FitKind.WITH_CONTEXT):
        found.append(smaller_variant(case, fit))
    return tuple(one for one in found if one)


def _gpu_rows(case: Case, model: ModelInfo | None, route: Route) -> tuple[GpuRow, ...]:
    if model is None or len(case.gpus) < 2 or route.device is not Device.CUDA:
        return ()
    return tuple(_gpu_row(case, model, route, index) for index in range(len(case.gpus)))


def _gpu_row(case: Case, model: ModelInfo, route: Route, index: int) -> GpuRow:
    gpu = case.gpus[index]
    fit = fit_on_gpu(case, model, gpu)
    speed = tokens_per_s_on(model, route.engine, gpu) if fit.fits else None
    return GpuRow(index, gpu, fit, speed)


def _dtype(case: Case, form: ModelFormat, route: Route) -> str | None:
    """Return the float type that qtool's transformers server will choose (see ``placement``)."""
    stored = case.model.dtype if case.model else None
    if route.engine != "transformers":
        return None
    if route.device is Device.CPU:
        flags = case.snapshot.cpu.flags or ()
        is_half = stored != "float32" and any(flag in flags for flag in _HALF_BY_CPU)
        return "bfloat16" if is_half else "float32"
    is_old_package = form in (ModelFormat.GPTQ, ModelFormat.AWQ) and not case.has("gptqmodel")
    lowest = facts.capability("features", "lowest_bf16")
    has_bfloat16 = bool(case.capabilities) and all(one >= lowest for one in case.capabilities)
    return "bfloat16" if has_bfloat16 and stored != "float16" and not is_old_package else "float16"


def _attention(case: Case, route: Route) -> str | None:
    if route.engine == "llama.cpp":
        return "llama.cpp"
    if route.engine != "transformers":
        return None
    lowest = facts.capability("flash_attn", "lowest_capability")
    is_able = bool(case.capabilities) and all(one >= lowest for one in case.capabilities)
    loads = is_able and flash_attn_kernels(case).state is KernelState.LOADS
    return "flash_attention_2" if loads and route.device is Device.CUDA else "sdpa"


def _notes(case: Case, form: ModelFormat) -> tuple[str, ...]:
    if form is ModelFormat.GPTQ:
        return gptq_answers(case)
    return awq_answers(case) if form is ModelFormat.AWQ else ()


def _memory_to_json(fit: Fit) -> dict[str, Any]:
    return {
        "weights_bytes": fit.need.weights_bytes,
        "kv_cache_bytes": fit.need.kv_cache_bytes if fit.need.is_kv_known else None,
        "overhead_bytes": fit.need.overhead_bytes,
        "total_bytes": fit.need.total_bytes,
        "available_bytes": fit.available_bytes,
        "fits": fit.fits,
        "fit": fit.kind.value,
        "n_ctx_tokens": fit.n_ctx_tokens,
        "n_ctx_max_tokens": fit.n_ctx_max_tokens,
        "n_gpu_layers": fit.n_gpu_layers,
        "bits_that_fit": fit.bits_that_fit,
    }
