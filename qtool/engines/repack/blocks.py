"""The codes of a matrix moved into ggml's blocks of 32, which lie along its inputs.

    Q4_0  float16 d, 16 bytes of codes       value = d * (code - 8)
    Q4_1  float16 d, float16 m, 16 bytes     value = d * code + m
    Q8_0  float16 d, 32 signed bytes         value = d * code

Byte j of a 4-bit block holds code j in its low half and code j + 16 in its high half. Source:
``block_q4_0`` and its neighbours in ggml/src/ggml-common.h, https://github.com/ggml-org/llama.cpp.

Codes and scales are kept bit for bit. The minimum of Q4_1, ``-zero * scale``, is rounded to
float16 once; nothing else is rounded.
"""

from typing import TYPE_CHECKING

import numpy as np

from qtool.engines.repack.packed import AWQ_ORDER, PackedMatrix, unpack_zeros
from qtool.models.ggml_types import BLOCK_LAYOUTS, GgmlType
from qtool.models.repackable import BLOCK, Layout

if TYPE_CHECKING:
    from qtool.engines.repack.packed import Bytes, Floats, Words

TILE_COLUMNS = 256
"""Outputs that are moved at once: so many that a tile of an ordinary matrix stays in the cache of
the processor (measured: 128 to 512 are alike, 64 and 4096 two to four times slower)."""

_LOW = np.uint32(0x0F0F0F0F)
_HIGH = np.uint32(0xF0F0F0F0)
_CENTRE = {4: 8, 8: 128}
"""The code that stands for zero in Q4_0, and in Q8_0 once its sign bit is flipped."""


class NotRepresentable(ValueError):
    """No block of ggml holds these codes without loss; the message says why."""


def choose_type(matrix: PackedMatrix) -> GgmlType:
    """Return the type that holds ``matrix`` without loss.

    Raises:
        NotRepresentable: scales that float16 does not hold, groups that cut blocks
            apart, a width ggml has no blocks for.
    """
    if matrix.group_size % BLOCK:
        raise NotRepresentable(f"a group size of {matrix.group_size} is no multiple of {BLOCK}")
    if matrix.bits not in _CENTRE:
        raise NotRepresentable(f"there is no block of {matrix.bits} bits with the same steps")
    half_scales(matrix)
    is_centred = bool((unpack_zeros(matrix) == _CENTRE[matrix.bits]).all())
    if matrix.bits == 8:
        if not is_centred:
            raise NotRepresentable("8 bits with zero points do not fit into signed bytes")
        return GgmlType.Q8_0
    return GgmlType.Q4_0 if is_centred else GgmlType.Q4_1


def half_scales(matrix: PackedMatrix) -> "Floats":
    """Return the scales as float16 (K / g, N).

    Raises:
        NotRepresentable: one is not finite, or is too large or has too many digits for float16.
    """
    scales = matrix.scales
    if not np.isfinite(scales).all():
        raise NotRepresentable("some scales are not finite")
    with np.errstate(over="ignore"):
        halves = scales.astype(np.float16, copy=False)
    if not np.array_equal(halves, scales):
        raise NotRepresentable("some scales do not fit into float16")
    return halves


def to_blocks(matrix: PackedMatrix, kind: GgmlType) -> "Bytes":
    """Return the rows of ``matrix`` as bytes (N, K / 32 * size of a block).

    ``kind`` is what ``choose_type`` said. All of the result is in memory at once, about as many
    bytes as the matrix has in its checkpoint.
    """
    n_blocks = matrix.n_inputs // BLOCK
    size = BLOCK_LAYOUTS[kind].n_bytes
    blocks = np.empty((matrix.n_outputs, n_blocks, size), np.uint8)
    scales = half_scales(matrix)
    minima = _minima(matrix, scales) if kind is GgmlType.Q4_1 else None
    n_codes = BLOCK * matrix.bits // 8
    width = TILE_COLUMNS // (8 if matrix.layout is Layout.AWQ_GEMM else 1)
    for start in range(0, matrix.qweight.shape[1], width):
        words = matrix.qweight[:, start : start + width]
        n_rows = words.shape[1] * TILE_COLUMNS // width
        rows = slice(start * TILE_COLUMNS // width, start * TILE_COLUMNS // width + n_rows)
        tile = blocks[rows]
        _move_codes(matrix, words, tile[:, :, size - n_codes :])
        _spread(scales[:, rows], tile[:, :, :2])
        if minima is not None:
            _spread(minima[:, rows], tile[:, :, 2:4])
    return blocks.reshape(matrix.n_outputs, n_blocks * size)


def _minima(matrix: PackedMatrix, scales: "Floats") -> "Floats":
    """Return ``-zero * scale``, rounded once: the product itself is exact in float32.

    Raises:
        NotRepresentable: too large for float16.
    """
    exact = -unpack_zeros(matrix).astype(np.float32) * scales.astype(np.float32)
    with np.errstate(over="ignore"):
        minima = exact.astype(np.float16)
    if not np.isfinite(minima).all():
        raise NotRepresentable("some minima do not fit into float16")
    return minima


def _spread(numbers: "Floats", target: "Bytes") -> None:
    """Write the number of each group (K / g, n) into all of its blocks: (n, blocks, 2 bytes)."""
    n_groups, n_rows = numbers.shape
    by_row = np.ascontiguousarray(numbers.T).view(np.uint8).reshape(n_rows, n_groups, 1, 2)
    target.reshape(n_rows, n_groups, -1, 2)[...] = by_row


def _move_codes(matrix: PackedMatrix, words: "Words", target: "Bytes") -> None:
    if matrix.layout is Layout.AWQ_GEMM:
        _move_awq(words, target)
    elif matrix.bits == 8:
        _move_gptq_8(words, target)
    else:
        _move_gptq_4(words, target)


def _move_gptq_4(words: "Words", target: "Bytes") -> None:
    """Move words (K / 8, n) into ``target`` (n, blocks, 16).

    A block is four words: bytes 0 to 7 are made of words 0 and 2, bytes 8 to 15 of 1 and 3.
    """
    n_rows, n_blocks, _ = target.shape
    words = np.ascontiguousarray(words)
    first, second = words.reshape(n_blocks, 2, 2, n_rows).swapaxes(0, 1)
    codes = np.empty((n_blocks, 2, n_rows, 4, 2), np.uint8)
    codes[..., 0] = _bytes_of((first & _LOW) | ((second & _LOW) << np.uint32(4)))
    codes[..., 1] = _bytes_of(((first >> np.uint32(4)) & _LOW) | (second & _HIGH))
    eights = codes.reshape(n_blocks, 2, n_rows * 8).view(np.uint64)
    by_row = np.ascontiguousarray(eights.transpose(2, 0, 1))
    target[...] = by_row.view(np.uint8).reshape(n_rows, n_blocks, 16)


def _move_gptq_8(words: "Words", target: "Bytes") -> None:
    """Move words (K / 4, n) into ``target`` (n, blocks, 32): signed bytes."""
    n_rows, n_blocks, _ = target.shape
    signed = np.ascontiguousarray(words.T) ^ np.uint32(0x80808080)
    target[...] = signed.view(np.uint8).reshape(n_rows, n_blocks, BLOCK)


def _move_awq(words: "Words", target: "Bytes") -> None:
    """Move words (K, n / 8) into ``target`` (n, blocks, 16).

    The words of inputs j and j + 16 of a block hold both halves of byte j of eight outputs.
    """
    n_rows, n_blocks, _ = target.shape
    first, second = words.reshape(n_blocks, 2, 16, n_rows // 8).swapaxes(0, 1)
    even = _bytes_of((first & _LOW) | ((second & _LOW) << np.uint32(4)))
    odd = _bytes_of(((first >> np.uint32(4)) & _LOW) | (second & _HIGH))
    outputs = target.reshape(n_rows // 8, 8, n_blocks, 16)
    for byte in range(4):
        outputs[:, AWQ_ORDER[2 * byte]] = even[..., byte].transpose(2, 0, 1)
        outputs[:, AWQ_ORDER[2 * byte + 1]] = odd[..., byte].transpose(2, 0, 1)


def _bytes_of(words: "Words") -> "Bytes":
    return words.view(np.uint8).reshape(*words.shape, 4)
