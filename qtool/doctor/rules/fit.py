"""Does the model fit into the memory of the device that would run it?"""

from collections.abc import Iterator

from qtool.doctor.case import Case
from qtool.doctor.finding import Confidence, Finding, Fix, Severity
from qtool.doctor.fit import Device, Fit, FitKind, fit_on
from qtool.doctor.fixes import gguf, smaller_variant
from qtool.doctor.llama_programs import llama_kind
from qtool.doctor.proven_sets import model_word
from qtool.doctor.repacked import as_run
from qtool.doctor.routes import find_route
from qtool.language.message import Message, say
from qtool.models.info import ModelFormat
from qtool.models.llama_choice import LlamaKind
from qtool.units import format_size


def vram_insufficient(case: Case) -> Iterator[Finding]:
    """Report a model that does not fit into the GPUs' memory."""
    if case.model is None or not case.gpus or _is_on_cpu(case):
        return
    fit = fit_on(case, case.model, Device.CUDA)
    if fit.fits is not False:
        return
    is_gguf = case.model.format is ModelFormat.GGUF
    explanation = say(
        "{need} That is more than the VRAM of {gpus}. ",
        need=describe_need(fit), gpus=_gpu_words(case),
    )  # fmt: skip
    if fit.n_gpu_layers is not None:
        explanation += say("llama.cpp can keep the other layers in RAM, at the speed of RAM.")
    elif not is_gguf:
        explanation += say(
            "Quantized kernels want every module on the GPU: what accelerate moves to the CPU or "
            'the disk fails or crawls ("Found modules on cpu/disk").'
        )
    yield Finding(
        code="VRAM-INSUFFICIENT",
        severity=_severity(case, fit),
        title=say("The model needs {needed} of VRAM; there are {available}",
                  needed=format_size(fit.need.total_bytes),
                  available=format_size(fit.available_bytes or 0)),
        explanation=explanation,
        evidence=(f"VRAM: {_gpu_words(case)}",),
        fixes=_fixes(case, fit),
        confidence=Confidence.LIKELY,
    )  # fmt: skip


def _is_on_cpu(case: Case) -> bool:
    """Tell whether a GGUF runs on the CPU although there is a GPU: qtool's own llama.cpp does.

    A llama-cpp-python without the GPU is a fault of its own; it ought to fit into VRAM.
    """
    if case.model is None or case.model.format is not ModelFormat.GGUF:
        return False
    is_own = bool(case.snapshot.llama_cpp) and llama_kind(case) is not LlamaKind.PYTHON
    return is_own and find_route(case, ModelFormat.GGUF).device is not Device.CUDA


def _severity(case: Case, fit: Fit) -> Severity:
    """A shorter context or layers in RAM are a way out, unless a longer context is asked for."""
    match fit.kind:
        case FitKind.WITH_LAYERS:
            return Severity.WARNING
        case FitKind.WITH_CONTEXT if not case.is_ctx_asked:
            return Severity.WARNING
        case _:
            return Severity.ERROR


def describe_need(fit: Fit) -> Message:
    """Say what the need is made of, in one sentence."""
    need = fit.need
    return say(
        "Weights {weights} + KV cache {kv_cache} for {n_ctx} tokens + overhead {overhead} "
        "= {total}.",
        weights=format_size(need.weights_bytes), kv_cache=format_size(need.kv_cache_bytes),
        n_ctx=fit.n_ctx_tokens, overhead=format_size(need.overhead_bytes),
        total=format_size(need.total_bytes),
    )  # fmt: skip


def _gpu_words(case: Case) -> str:
    return ", ".join(f"{gpu.name} ({format_size(gpu.vram_bytes or 0)})" for gpu in case.gpus)


def _fixes(case: Case, fit: Fit) -> tuple[Fix, ...]:
    shorter = _shorter_context(case, fit)
    if case.model and case.model.format is ModelFormat.GGUF:
        if fit.n_gpu_layers is None:
            return (*shorter, smaller_variant(case, fit))
        title = say("{layers} layers on the GPU, the others in RAM", layers=fit.n_gpu_layers)
        command = f"qtool chat {model_word(case)} --gpu-layers {fit.n_gpu_layers}"
        return (*shorter, Fix(title, (command,)))
    return (
        *shorter,
        gguf(case, say("A GGUF of it with llama.cpp, partly in RAM; or a smaller model")),
    )


def _shorter_context(case: Case, fit: Fit) -> tuple[Fix, ...]:
    if not fit.n_ctx_max_tokens:
        return ()
    n_ctx = fit.n_ctx_max_tokens
    title = say("A context of at most {n_ctx} tokens fits", n_ctx=n_ctx)
    return (Fix(title, (f"qtool chat {model_word(case)} --ctx {n_ctx}",)),)


def ram_insufficient(case: Case) -> Iterator[Finding]:
    """Report a model that does not fit into RAM where it is the CPU that runs it."""
    model = as_run(case)
    if model is None or not (case.has_no_gpu or _is_on_cpu(case)):
        return
    fit = fit_on(case, model, Device.CPU)
    if fit.fits is not False:
        return
    yield Finding(
        code="RAM-INSUFFICIENT",
        severity=_severity(case, fit),
        title=say("The model needs {needed} of RAM; there are {available}",
                  needed=format_size(fit.need.total_bytes),
                  available=format_size(fit.available_bytes or 0)),
        explanation=say(
            "{need} That is more than this machine can give a program.", need=describe_need(fit)
        ),
        evidence=(f"RAM: {format_size(fit.available_bytes or 0)} available",),
        fixes=_shorter_context(case, fit) or (smaller_variant(case, fit),),
        confidence=Confidence.LIKELY,
    )  # fmt: skip


RULES = (vram_insufficient, ram_insufficient)
