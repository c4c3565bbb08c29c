"""How quantised matrices are packed, and whether their description lets them be repacked.

Without numpy: doctor and the choice of an engine ask here before anything is read.
"""

from enum import StrEnum

from qtool.engines.repack.architectures import find_architecture
from qtool.engines.repack.refusal import NotRepackable
from qtool.models.info import ModelFormat, ModelInfo, Quantization

BLOCK = 32
"""Inputs that share a scale in ggml's blocks; a group has to be made of whole ones."""


class Layout(StrEnum):
    """How the codes of a matrix lie in its words."""

    GPTQ = "gptq"
    GPTQ_V2 = "gptq_v2"
    AWQ_GEMM = "gemm"


def choose_layout(info: ModelInfo) -> Layout:
    """Return how the matrices of ``info`` are packed.

    Raises:
        NotRepackable: not GPTQ or AWQ, or in a layout of theirs that is not known.
    """
    quantization = info.quantization or Quantization("none", "")
    if info.format is ModelFormat.GPTQ:
        name = quantization.checkpoint_format or Layout.GPTQ
        if name in (Layout.GPTQ, Layout.GPTQ_V2):
            return Layout(name)
    elif info.format is ModelFormat.AWQ:
        name = quantization.version or quantization.checkpoint_format or Layout.AWQ_GEMM
        if name == Layout.AWQ_GEMM:
            return Layout.AWQ_GEMM
    else:
        raise NotRepackable(f"it is a {info.format} model, not GPTQ or AWQ", info.path)
    raise NotRepackable(f"the {info.format} layout {name!r} is not known", info.path)


def expect_refusal(info: ModelInfo) -> str | None:
    """Return why a repack will probably be refused; None if nothing described speaks against it.

    A glance at what the configuration says. Some act-order models have their inputs in order all
    the same, and some others turn out not to fit: the repack itself has the last word.
    """
    quantization = info.quantization or Quantization("none", "")
    try:
        choose_layout(info)
        find_architecture(info.architecture)
    except NotRepackable as exc:
        return exc.reason
    if quantization.is_act_order:
        return "its inputs are permuted (act-order, desc_act)"
    if quantization.bits not in (4, 8):
        return f"there is no block of {quantization.bits} bits with the same steps"
    if (quantization.group_size or BLOCK) % BLOCK and quantization.group_size != -1:
        return f"a group size of {quantization.group_size} is no multiple of {BLOCK}"
    return None
