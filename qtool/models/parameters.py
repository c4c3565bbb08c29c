"""Counting the logical weights of a checkpoint whose tensors may be packed.

A quantized matrix is stored as several tensors that share a prefix. Its weights are counted once,
unpacked; what only serves to unpack them is not counted:

| method             | codes                          | beside them                             |
|--------------------|--------------------------------|-----------------------------------------|
| GPTQ, AWQ          | ``qweight`` (32/bits an int32) | qzeros, scales, g_idx                   |
| compressed-tensors | ``weight_packed``              | weight_scale, weight_shape, …           |
| bitsandbytes 4 bit | ``weight`` (2 a byte)          | weight.absmax, weight.quant_state.… …   |
| bitsandbytes 8 bit | ``weight``                     | SCB, weight_format                      |
| fp8                | ``weight``                     | weight_scale, weight_scale_inv, …       |
| mxfp4              | ``…_blocks`` (2 a byte)        | …_scales                                |
"""

from collections.abc import Container, Iterable

from qtool.models.safetensors import DTYPE_BITS, SafetensorsTensor

_BESIDE_QWEIGHT = ("qzeros", "scales", "g_idx")
_BESIDE_WEIGHT = (
    "weight_scale",
    "weight_scale_inv",
    "weight_scale_2",
    "weight_global_scale",
    "weight_zero_point",
    "weight_shape",
    "weight_g_idx",
    "weight_format",
    "input_scale",
    "input_global_scale",
    "input_zero_point",
    "SCB",
)
_BNB_STATE = (".absmax", ".nested_absmax", ".quant_map", ".nested_quant_map")


def count_parameters(tensors: Iterable[SafetensorsTensor], bits: int | None) -> int:
    """Count logical weights; ``bits`` are those of a packed code, 4 where unknown."""
    by_name = {tensor.name: tensor for tensor in tensors}
    return sum(
        _n_logical(tensor, by_name.keys(), bits or 4)
        for tensor in by_name.values()
        if not _is_auxiliary(tensor.name, by_name.keys())
    )


def _n_logical(tensor: SafetensorsTensor, names: Container[str], bits: int) -> int:
    """The number of weights in a tensor that is not auxiliary."""
    stored_bits = DTYPE_BITS[tensor.dtype]
    prefix, _, last = tensor.name.rpartition(".")
    is_packed = (
        (last == "qweight" and f"{prefix}.scales" in names)
        or last == "weight_packed"
        or (last == "weight" and f"{tensor.name}.absmax" in names)
        or (last.endswith("_blocks") and f"{tensor.name[: -len('blocks')]}scales" in names)
    )
    if not is_packed:
        return tensor.n_elements
    return tensor.n_elements * stored_bits // bits


def _is_auxiliary(name: str, names: Container[str]) -> bool:
    prefix, _, last = name.rpartition(".")
    if last in _BESIDE_QWEIGHT:
        return f"{prefix}.qweight" in names
    if last in _BESIDE_WEIGHT:
        return f"{prefix}.weight" in names or f"{prefix}.weight_packed" in names
    if last.endswith("_scales"):
        return f"{name[: -len('scales')]}blocks" in names
    return any(mark in name for mark in _BNB_STATE) or ".quant_state." in name
