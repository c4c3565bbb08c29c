"""AWQ's layouts for single rows, "gemv" and "gemv_fast", rewritten as the words of GPTQ.

K inputs, N outputs, g inputs of an output share a scale. Groups are filled up to a multiple of 8 to
32 with zeros; what is filled up is left out here.

- gemv: qweight int32 (N, K / 8), code i of word w is that of input ``8 * w + i``; qzeros int32
  (N, groups / 8) likewise, code i of word w is the zero point of group ``8 * w + i``; scales
  (N, groups).
- gemv_fast: qweight int16 (N / 4, K): 64 elements, four codes each, hold 64 inputs of four outputs,
  one output after the other, every 32 inputs in the order of ``_words_of_runs``. scales and qzeros
  float16 (groups, N), where the latter are ``-zero * scale``.

Sources: AutoAWQ 0.2 awq/modules/linear/gemv.py (``from_linear``) and gemv_fast.py
(``pack_intweight``, ``from_linear``), https://github.com/casper-hansen/AutoAWQ.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from qtool.engines.repack.blocks import NotRepresentable
from qtool.models.repackable import Layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qtool.engines.repack.packed import Bytes, Floats, Words

CODES_IN_WORD = 8
OUTPUTS_IN_ELEMENT = 4
INPUTS_IN_RUN = 64
HIGHEST_CODE = 15
TILE_FOURS = 32
"""So many elements are moved at once that they stay in the processor's cache."""


def gptq_words(layout: Layout, qweight: "NDArray[Any]") -> "Words":
    """Return qweight as GPTQ has it: words (K / 8, N)."""
    by_output = qweight if layout is Layout.AWQ_GEMV else _words_of_runs(qweight)
    return np.swapaxes(by_output, 0, 1)


def gptq_zeros(
    layout: Layout, qzeros: "NDArray[Any]", scales: "Floats", n_groups: int
) -> "tuple[Words, Floats]":
    """Return zero points as words (groups, N / 8), and scales (groups, N).

    Raises:
        NotRepresentable: some minimum is not the zero point times the scale.
    """
    if layout is Layout.AWQ_GEMV:
        scales = scales[:, :n_groups].T
        zeros = _unpacked(qzeros)[:, :n_groups].T
    else:
        scales = scales[:n_groups]
        zeros = _zeros_of_minima(qzeros[:n_groups], scales)
    return pack_codes(zeros), np.ascontiguousarray(scales)


def pack_codes(codes: "Bytes") -> "Words":
    """Pack codes (rows, n) into words (rows, n / 8), the first into the lowest bits."""
    filled = np.zeros((len(codes), -(-codes.shape[1] // CODES_IN_WORD) * CODES_IN_WORD), np.uint8)
    filled[:, : codes.shape[1]] = codes
    words: Words = (filled[:, ::2] | (filled[:, 1::2] << 4)).view("<u4")
    return words


def _unpacked(words: "Words") -> "Bytes":
    shifts = np.arange(0, 32, 4, dtype=np.uint32)
    codes = (words[:, :, None] >> shifts) & np.uint32(HIGHEST_CODE)
    return codes.astype(np.uint8).reshape(len(words), -1)


def _words_of_runs(qweight: "NDArray[np.uint16]") -> "Words":
    """Return the words (N, K / 8) of gemv_fast's elements (N / 4, K).

    Of 32 inputs code a of element e, one of eight, is that of input ``8 * a + e``: the words are
    the elements with rows and columns exchanged.
    """
    n_fours, n_inputs = qweight.shape
    words = np.empty((n_fours, OUTPUTS_IN_ELEMENT, n_inputs // INPUTS_IN_RUN, 2, 4, 2), "<u2")
    for start in range(0, n_fours, TILE_FOURS):
        tile = words[start : start + TILE_FOURS]
        codes = _transposed(qweight[start : start + TILE_FOURS].view("<u8")).view("<u2")
        # (fours, runs, outputs, halves of 32, elements 0 to 3 and 4 to 7, a)
        by_run = codes.reshape(len(tile), -1, OUTPUTS_IN_ELEMENT, 2, 2, 4)
        tile[...] = by_run.transpose(0, 2, 1, 3, 5, 4)
    return words.view("<u4").reshape(n_fours * OUTPUTS_IN_ELEMENT, -1)


def _transposed(squares: "NDArray[np.uint64]") -> "NDArray[np.uint64]":
    """Exchange rows and columns of 4 by 4 codes in 64 bits each: corners first, then halves."""
    for shift, mask in ((12, 0x0000F0F00000F0F0), (24, 0x00000000FF00FF00)):
        swapped = (squares ^ (squares >> np.uint64(shift))) & np.uint64(mask)
        squares = squares ^ swapped ^ (swapped << np.uint64(shift))
    return squares


def _zeros_of_minima(minima: "Floats", scales: "Floats") -> "Bytes":
    """Return the zero points (groups, N) that were multiplied by the scales and rounded."""
    exact, smallest = scales.astype(np.float32), minima.astype(np.float32)
    is_used = np.isfinite(exact) & (exact != 0)
    zeros = np.full(exact.shape, HIGHEST_CODE // 2 + 1, np.float32)
    np.divide(-smallest, exact, out=zeros, where=is_used)
    zeros = np.clip(np.rint(zeros), 0, HIGHEST_CODE)
    again = np.where(is_used, (-zeros * np.where(is_used, exact, 0)).astype(np.float16), minima)
    if not np.array_equal(again, minima, equal_nan=True):
        raise NotRepresentable("some minima are no zero point times its scale")
    return zeros.astype(np.uint8)
