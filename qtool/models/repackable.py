"""Whether the description of a model lets llama.cpp have its weights without loss.

A glance at what the configuration says; ``qtool.engines.repack``, which reads the weights, has
the last word: some act-order models have their inputs in order all the same, and some others turn
out not to fit.
"""

from enum import StrEnum

from qtool.models.info import ModelFormat, ModelInfo, Quantization

BLOCK = 32
"""Inputs that share a scale in ggml's blocks; a group has to be made of whole ones."""

REPACKED_ARCHITECTURES = (
    *("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"),
    *("Phi3ForCausalLM", "Gemma2ForCausalLM", "Gemma3ForCausalLM"),
)


class Layout(StrEnum):
    """How the codes of a quantized matrix lie in its words."""

    GPTQ = "gptq"
    GPTQ_V2 = "gptq_v2"
    AWQ_GEMM = "gemm"
    AWQ_GEMV = "gemv"
    AWQ_GEMV_FAST = "gemv_fast"


AWQ_LAYOUTS = (Layout.AWQ_GEMM, Layout.AWQ_GEMV, Layout.AWQ_GEMV_FAST)


def find_layout(info: ModelInfo) -> Layout | None:
    """Return how the matrices of ``info`` are packed; None where that is not known."""
    quantization = info.quantization or Quantization("none", "")
    named = quantization.version or quantization.checkpoint_format
    match info.format:
        case ModelFormat.GPTQ if named in (None, Layout.GPTQ, Layout.GPTQ_V2):
            return Layout(named or Layout.GPTQ)
        case ModelFormat.AWQ if named in (None, *AWQ_LAYOUTS):
            return Layout(named or Layout.AWQ_GEMM)
        case _:
            return None


def find_obstacle(info: ModelInfo) -> str | None:
    """Return what speaks against a repack, as the end of a sentence; None if nothing does."""
    quantization = info.quantization or Quantization("none", "")
    bits, group_size = quantization.bits or 4, quantization.group_size or -1
    if find_layout(info) is None:
        layout = quantization.version or quantization.checkpoint_format
        return f"it is a {info.format} model" + (f" in the layout {layout!r}" if layout else "")
    if info.architecture not in REPACKED_ARCHITECTURES:
        known = ", ".join(name.removesuffix("ForCausalLM") for name in REPACKED_ARCHITECTURES)
        return f"its architecture is {info.architecture or 'not known'}; repacked are {known}"
    if quantization.is_act_order:
        return "its inputs are permuted (act-order, desc_act)"
    if bits not in (4, 8):
        return f"there is no block of {bits:g} bits with the same steps"
    if group_size != -1 and group_size % BLOCK:
        return f"a group size of {group_size} is no multiple of {BLOCK}"
    return None
