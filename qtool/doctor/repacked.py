"""GPTQ and AWQ through llama.cpp on a CPU: whether that is how a model runs here, and how large.

Pure. The repack itself, which has the last word, is ``qtool.engines.repack``.
"""

from dataclasses import replace

from qtool.doctor.case import Case
from qtool.models.info import ModelFormat, ModelInfo
from qtool.models.llama_choice import LlamaKind
from qtool.models.repackable import find_obstacle

# Bytes a weight in ggml's blocks of 32: Q4_0 has 18 of them, Q4_1 20, Q8_0 34.
_SYMMETRIC_4, _ASYMMETRIC_4, _BITS_8 = 18 / 32, 20 / 32, 34 / 32
_FLOAT_BYTES = 2


def runs_repacked(case: Case) -> bool:
    """Tell whether ``qtool chat`` repacks the model of ``case``: no GPU, our wheel, no obstacle.

    On a GPU the kernels of transformers are made for these formats.
    """
    if case.has_driven_gpu or case.snapshot.llama_cpp != LlamaKind.WHEEL or case.model is None:
        return False
    return find_obstacle(case.model) is None


def runs_most_repacked(case: Case) -> bool:
    """Tell whether, no model being named, ``qtool chat`` would repack most of these formats."""
    has_wheel = case.snapshot.llama_cpp == LlamaKind.WHEEL
    return case.model is None and case.has_no_gpu and has_wheel


def as_run(case: Case) -> ModelInfo | None:
    """Return the model as it is in memory here: repacked where it is, else as it is on disk."""
    if case.model is None or not runs_repacked(case):
        return case.model
    return replace(case.model, weights_bytes=repacked_bytes(case.model))


def repacked_bytes(model: ModelInfo) -> int:
    """Estimate the size of ``model`` as GGUF, to about one percent.

    A code of 4 bits with its share of an fp16 scale takes 4.5 bits in Q4_0, with a zero point 5 in
    Q4_1. How many weights are quantized follows from the size on disk: what is not has 16 bits.
    """
    n_quantized = _count_quantized(model)
    if n_quantized is None or model.n_params is None:
        return model.weights_bytes
    return int(n_quantized * _bytes_per_code(model) + (model.n_params - n_quantized) * _FLOAT_BYTES)


def _count_quantized(model: ModelInfo) -> float | None:
    """Solve ``packed * x + 2 * (n_params - x) = weights_bytes`` for the quantized weights x."""
    quantization = model.quantization
    if quantization is None or not model.n_params or not quantization.bits:
        return None
    bits, group = quantization.bits, quantization.group_size or -1
    packed = bits / 8 + ((16 + bits) / 8 / group if group > 0 else 0)
    found = (_FLOAT_BYTES * model.n_params - model.weights_bytes) / (_FLOAT_BYTES - packed)
    return found if 0 <= found <= model.n_params else None


def _bytes_per_code(model: ModelInfo) -> float:
    quantization = model.quantization
    if quantization and quantization.bits == 8:
        return _BITS_8
    is_symmetric = quantization is not None and quantization.is_symmetric
    is_gptq = model.format is ModelFormat.GPTQ
    return _SYMMETRIC_4 if is_symmetric and is_gptq else _ASYMMETRIC_4
