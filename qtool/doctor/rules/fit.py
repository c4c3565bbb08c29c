"""Does the model fit into the memory of the device that would run it?"""

from collections.abc import Iterator

from qtool.doctor.case import Case
from qtool.doctor.finding import Confidence, Finding, Fix, Severity
from qtool.doctor.fit import Device, Fit, fit_on
from qtool.doctor.fixes import gguf
from qtool.models.info import ModelFormat
from qtool.units import format_size


def vram_insufficient(case: Case) -> Iterator[Finding]:
    """Report a model that does not fit into the GPUs' memory."""
    if case.model is None or not case.gpus:
        return
    fit = fit_on(case, case.model, Device.CUDA)
    if fit.fits is not False:
        return
    is_gguf = case.model.format is ModelFormat.GGUF
    yield Finding(
        code="VRAM-INSUFFICIENT",
        severity=Severity.WARNING if is_gguf else Severity.ERROR,
        title=f"The model needs {format_size(fit.need.total_bytes)} of VRAM; there are "
        f"{format_size(fit.available_bytes or 0)}",
        explanation=(
            f"{describe_need(fit)} That is more than the VRAM of {_gpu_words(case)}. "
            + (
                "llama.cpp can keep the other layers in RAM, at the speed of RAM."
                if is_gguf
                else "Quantised kernels want every module on the GPU: what accelerate moves to "
                'the CPU or the disk fails or crawls ("Found modules on cpu/disk").'
            )
        ),
        evidence=(f"VRAM: {_gpu_words(case)}",),
        fixes=_fixes(case, fit),
        confidence=Confidence.LIKELY,
    )


def describe_need(fit: Fit) -> str:
    """Say what the need is made of, in one sentence."""
    need = fit.need
    return (
        f"Weights {format_size(need.weights_bytes)} + KV cache {format_size(need.kv_cache_bytes)} "
        f"for {fit.n_ctx_tokens} tokens + overhead {format_size(need.overhead_bytes)} "
        f"= {format_size(need.total_bytes)}."
    )


def _gpu_words(case: Case) -> str:
    return ", ".join(f"{gpu.name} ({format_size(gpu.vram_bytes or 0)})" for gpu in case.gpus)


def _fixes(case: Case, fit: Fit) -> tuple[Fix, ...]:
    shorter: tuple[Fix, ...] = ()
    if fit.n_ctx_max_tokens:
        shorter = (
            Fix(
                f"A context of at most {fit.n_ctx_max_tokens} tokens fits",
                (f"qtool chat {_model_word(case)} --ctx {fit.n_ctx_max_tokens}",),
            ),
        )
    if case.model and case.model.format is ModelFormat.GGUF:
        layers = fit.n_gpu_layers or 0
        return (
            *shorter,
            Fix(
                f"{layers} layers on the GPU, the others in RAM",
                (f"qtool chat {_model_word(case)} --gpu-layers {layers}",),
            ),
        )
    title = "A GGUF of it with llama.cpp, partly in RAM; or a smaller model"
    return (*shorter, gguf(case, title))


def _model_word(case: Case) -> str:
    text = str(case.model.path) if case.model else "MODEL"
    return f'"{text}"' if " " in text else text


def ram_insufficient(case: Case) -> Iterator[Finding]:
    """Report a model that does not fit into RAM on a machine without a GPU."""
    if case.model is None or not case.has_no_gpu:
        return
    fit = fit_on(case, case.model, Device.CPU)
    if fit.fits is not False:
        return
    yield Finding(
        code="RAM-INSUFFICIENT",
        severity=Severity.ERROR,
        title=f"The model needs {format_size(fit.need.total_bytes)} of RAM; there are "
        f"{format_size(fit.available_bytes or 0)}",
        explanation=f"{describe_need(fit)} That is more than this machine can give a program.",
        evidence=(f"RAM: {format_size(fit.available_bytes or 0)} available",),
        fixes=_fixes_for_ram(case, fit),
        confidence=Confidence.LIKELY,
    )


def _fixes_for_ram(case: Case, fit: Fit) -> tuple[Fix, ...]:
    if fit.n_ctx_max_tokens:
        return (
            Fix(
                f"A context of at most {fit.n_ctx_max_tokens} tokens fits",
                (f"qtool chat {_model_word(case)} --ctx {fit.n_ctx_max_tokens}",),
            ),
        )
    return (gguf(case, "A smaller model, or one with fewer bits"),)


RULES = (vram_insufficient, ram_insufficient)
