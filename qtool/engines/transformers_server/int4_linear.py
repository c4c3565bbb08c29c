"""A linear layer of 4-bit codes on a processor, through torch's own kernel.

``aten::_weight_int4pack_mm_for_cpu`` (torch 2.6 and newer) reads half a byte a weight, which is
what decoding is bound by. It computes a few rows at a time, though, and a prompt has hundreds: for
those the weights are written out tile by tile, into the processor's cache, and multiplied by the
ordinary kernel: 70 ms instead of 270 for 512 rows and 4096 x 11008 weights (2 cores, AMX).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

from .packed_matrix import CodedMatrix

GROUP_SIZES = (256, 128, 64, 32)
"""What the kernel takes, and larger groups are cut into: ``_weight_int4pack_mm_cpu`` of
aten/src/ATen/native/LinearAlgebra.cpp."""
OUTPUT_MULTIPLE = 16
MIN_DENSE_ROWS = 128
"""From so many rows on writing the weights out is faster (measured: 100 to 150)."""
TILE_OUTPUTS = 256


def has_kernel() -> bool:
    """Tell whether this torch has the kernel."""
    return hasattr(torch.ops.aten, "_weight_int4pack_mm_for_cpu")


def find_group_size(matrix: CodedMatrix) -> int | None:
    """Return the group size in which the kernel computes ``matrix``; None if it does not."""
    if matrix.codes.shape[0] % OUTPUT_MULTIPLE or int(matrix.codes.max()) > 15:
        return None
    return next((size for size in GROUP_SIZES if matrix.group_size % size == 0), None)


@lru_cache(maxsize=1)
def find_block_outputs() -> int | None:
    """Return how many outputs the kernel's blocks hold, if they are arranged as ``_tile`` reads.

    Torch arranges them by what the processor has, and says so nowhere: it is tried out.
    """
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(0, 16, (64, 64), dtype=torch.int32, generator=generator)
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1)
    for block in (64, 32):
        tile = _codes_of(packed.view(-1, codes.shape[1], block // 2))
        if torch.equal(tile, codes.T.to(torch.uint8)):
            return block
    return None


class Int4Linear(torch.nn.Module):  # type: ignore[misc]
    """Takes the place of ``torch.nn.Linear``; scales and products are rounded to bfloat16."""

    def __init__(self, matrix: CodedMatrix, group_size: int, bias: Any | None) -> None:
        super().__init__()
        self.out_features, self.in_features = (int(n) for n in matrix.codes.shape)
        self.group_size = group_size
        parts = matrix.group_size // group_size
        scales = matrix.scales.float().repeat_interleave(parts, 0)
        zeros = matrix.zeros.float().repeat_interleave(parts, 0)
        offsets = torch.stack([scales, (8 - zeros) * scales], -1)
        block = find_block_outputs()
        self._block = block if block and self.out_features % block == 0 else None
        self.register_buffer("packed", _pack(matrix.codes, self._block))
        self.register_buffer("scales_and_zeros", offsets.bfloat16().contiguous())
        self.register_buffer("order", matrix.order)
        self.register_buffer("bias", bias)

    @property
    def weight(self) -> Any:
        """What some models ask for their type and device."""
        return self.scales_and_zeros

    def forward(self, x: Any) -> Any:
        """Multiply ``x`` (…, inputs)."""
        rows = x.reshape(-1, self.in_features)
        if self.order is not None:
            rows = rows[:, self.order]
        if self._block and len(rows) >= MIN_DENSE_ROWS:
            product = self._multiply_dense(rows, self._block)
        else:
            product = torch.ops.aten._weight_int4pack_mm_for_cpu(
                rows.bfloat16().contiguous(), self.packed, self.group_size, self.scales_and_zeros
            )
        product = product.to(x.dtype).view(*x.shape[:-1], self.out_features)
        return product if self.bias is None else product + self.bias

    def _multiply_dense(self, rows: Any, block: int) -> Any:
        product = rows.new_empty(len(rows), self.out_features)
        for start in range(0, self.out_features, TILE_OUTPUTS):
            outputs = slice(start, min(start + TILE_OUTPUTS, self.out_features))
            product[:, outputs] = rows @ self._tile(outputs, block, rows.dtype)
        return product

    def _tile(self, outputs: slice, block: int, dtype: Any) -> Any:
        """Return the weights (inputs, outputs) of whole blocks."""
        blocks = self.packed.view(-1, self.in_features, block // 2)
        codes = _codes_of(blocks[outputs.start // block : outputs.stop // block])
        groups = codes.to(dtype).view(-1, self.group_size, codes.shape[1])
        scales, zeros = self.scales_and_zeros[:, None, outputs].to(dtype).unbind(-1)
        return torch.addcmul(zeros, groups.sub_(8), scales, out=groups).flatten(0, 1)


def _pack(codes: Any, block: int | None) -> Any:
    """Return the codes (N, K) as the kernel wants them, without its detour over 32-bit numbers
    where the arrangement is known."""
    if block is None:
        return torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes.int(), 1)
    low, high = codes.view(-1, 2, block // 2, codes.shape[1]).unbind(1)
    by_input = (low | (high << 4)).transpose(1, 2)
    return by_input.contiguous().view(len(codes), -1)


def _codes_of(blocks: Any) -> Any:
    """Return the codes (inputs, outputs) of blocks (n, inputs, outputs / 2).

    The low half of a byte is of the first half of a block's outputs, the high half of the second.
    """
    by_input = blocks.transpose(0, 1)
    return torch.stack([by_input & 15, by_input >> 4], 2).flatten(1)
