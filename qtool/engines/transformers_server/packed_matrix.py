"""Quantised matrices of GPTQ and AWQ checkpoints, unpacked into codes with torch.

K inputs, N outputs; the value of a code is ``scale * (code - zero)``, with scale and zero point
shared by a group of inputs. Words are 32 bits wide, the lowest bits come first.

- GPTQ: qweight (K * bits / 32, N); qzeros (groups, N * bits / 32) hold the zero points minus one,
  or, in the format ``gptq_v2``, as they are; g_idx (K) names the group of each input.
- AWQ "gemm" (4 bits): qweight (K, N / 8), qzeros (groups, N / 8); slot i of a word is output
  ``AWQ_ORDER[i]`` of its eight.

Sources: AutoGPTQ 0.7 auto_gptq/nn_modules/qlinear/qlinear_cuda_old.py, AutoAWQ 0.2
awq/utils/packing_utils.py. ``qtool.engines.repack.packed`` reads the same with numpy; this folder
runs where there is no qtool.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
WORD_BITS = 32
GPTQ_BITS = (2, 3, 4, 8)
DEFAULT_LAYOUT = {"gptq": "gptq", "awq": "gemm"}
LAYOUTS = {("gptq", "gptq"): GPTQ_BITS, ("gptq", "gptq_v2"): GPTQ_BITS, ("awq", "gemm"): (4,)}
"""How many bits a code may have, by method and layout."""


class NotPackable(Exception):
    """The checkpoint is packed in a way that is not known here; the message says how."""


@dataclass(frozen=True)
class Packing:
    """How a checkpoint packs its matrices: ``gptq``, ``gptq_v2`` or ``gemm``."""

    layout: str
    bits: int


@dataclass(frozen=True)
class CodedMatrix:
    """``codes`` (N, K) uint8 with the inputs of a group side by side, ``zeros`` and ``scales``
    (groups, N). Input ``order[i]`` belongs to column i; None is the order as it is."""

    codes: Any
    zeros: Any
    scales: Any
    order: Any | None

    @property
    def group_size(self) -> int:
        """How many inputs share a scale."""
        return int(self.codes.shape[1] // self.scales.shape[0])

    def values(self, dtype: Any) -> Any:
        """Return the weights (N, K) in the order of the inputs, rounded to ``dtype``."""
        groups = self.codes.reshape(self.codes.shape[0], self.scales.shape[0], -1)
        centred = groups - self.zeros.T.unsqueeze(-1).to(torch.int16)
        values = (centred * self.scales.T.unsqueeze(-1).float()).reshape(self.codes.shape)
        if self.order is not None:
            values = values[:, torch.argsort(self.order)]
        return values.to(dtype)


def read_packing(quantization: Mapping[str, Any]) -> Packing:
    """Return how the checkpoint with this ``quantization_config`` is packed.

    Raises:
        NotPackable: in no way that is known here.
    """
    method, bits = quantization.get("quant_method"), quantization.get("bits", 4)
    stated = quantization.get("version") or quantization.get("checkpoint_format")
    layout = str(stated or DEFAULT_LAYOUT.get(str(method))).lower()
    if bits not in LAYOUTS.get((str(method), layout), ()):
        raise NotPackable(f"{method} with {bits} bits in the layout {layout!r}")
    return Packing(layout, int(bits))


def unpack_matrix(parts: Mapping[str, Any], packing: Packing) -> CodedMatrix:
    """Unpack ``qweight``, ``qzeros``, ``scales`` and ``g_idx`` (which AWQ does not have).

    Raises:
        NotPackable: their shapes contradict one another, or groups have different sizes.
    """
    qweight, qzeros, scales = (parts[name] for name in ("qweight", "qzeros", "scales"))
    if qweight.dtype is not torch.int32 or qzeros.dtype is not torch.int32:
        raise NotPackable(f"words of the type {qweight.dtype}")
    n_outputs = int(scales.shape[1])
    if packing.layout == "gemm":
        codes = _awq_order(unpack_words(qweight, 4)).T.contiguous()
        zeros, order = _awq_order(unpack_words(qzeros, 4)), None
    else:
        g_idx = parts.get("g_idx")
        bits = packing.bits if g_idx is None else qweight.shape[0] * WORD_BITS // len(g_idx)
        codes = unpack_words(qweight.T, bits)
        zeros = unpack_words(qzeros, bits)[:, :n_outputs]
        if packing.layout == "gptq":
            zeros = (zeros + 1) & (2**bits - 1)
        order = None if g_idx is None else _order(g_idx, len(scales))
    if codes.shape[0] != n_outputs or zeros.shape != scales.shape or codes.shape[1] % len(scales):
        raise NotPackable(f"codes {tuple(codes.shape)} with scales {tuple(scales.shape)}")
    if order is not None:
        codes = codes[:, order]
    return CodedMatrix(codes, zeros, scales, order)


def unpack_words(words: Any, bits: int) -> Any:
    """Return the codes (…, n * 32 / bits) uint8 of words (…, n), which 3 bits cross."""
    octets = words.contiguous().view(torch.uint8)
    if 8 % bits == 0:
        codes = [(octets >> shift) & (2**bits - 1) for shift in range(0, 8, bits)]
        return torch.stack(codes, -1).flatten(-2)
    single = torch.stack([(octets >> shift) & 1 for shift in range(8)], -1).flatten(-2)
    weights = torch.tensor([1 << place for place in range(bits)], dtype=torch.uint8)
    return (single.unflatten(-1, (-1, bits)) * weights).sum(-1, dtype=torch.uint8)


def _awq_order(codes: Any) -> Any:
    places = torch.argsort(torch.tensor(AWQ_ORDER))
    return codes.unflatten(-1, (-1, len(AWQ_ORDER)))[..., places].flatten(-2)


def _order(g_idx: Any, n_groups: int) -> Any | None:
    """Return which input comes where, so that those of a group are neighbours; None if they are."""
    sizes = torch.bincount(g_idx, minlength=n_groups)
    if len(sizes) != n_groups or not bool((sizes == sizes[0]).all()):
        raise NotPackable("groups of different sizes")
    if bool((g_idx[1:] >= g_idx[:-1]).all()):
        return None
    return torch.argsort(g_idx, stable=True)
