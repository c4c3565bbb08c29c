"""Packs codes as the checkpoints' own tools do, word by word, and says what they stand for.

Plain loops over words, on purpose unlike the code they test.
"""

from dataclasses import dataclass

import numpy as np

from qtool.engines.repack.packed import PackedMatrix
from qtool.models.repackable import Layout

PLAIN_LAYOUTS = (Layout.GPTQ, Layout.GPTQ_V2, Layout.AWQ_GEMM)
AWQ_PLACES = (0, 2, 4, 6, 1, 3, 5, 7)


@dataclass(frozen=True, eq=False)
class Quantised:
    """Codes (K, N), zero points and scales (K / g, N)."""

    codes: np.ndarray
    zeros: np.ndarray
    scales: np.ndarray
    bits: int = 4

    @property
    def group_size(self) -> int:
        return len(self.codes) // len(self.scales)

    def values(self, dtype: type = np.float64) -> np.ndarray:
        """Return what the codes stand for (K, N): ``scale * (code - zero)``."""
        group = np.arange(len(self.codes)) // self.group_size
        centred = self.codes.astype(dtype) - self.zeros[group].astype(dtype)
        return centred * self.scales[group].astype(dtype)


def pack_words(
    values: np.ndarray, bits: int, places: "tuple[int, ...] | None" = None
) -> np.ndarray:
    """Pack neighbours of the last dimension into 32-bit words; ``places[i]`` goes to slot i."""
    n_slots = 32 // bits
    words = np.zeros((*values.shape[:-1], -(-values.shape[-1] // n_slots)), np.uint64)
    for word in range(words.shape[-1]):
        for slot in range(n_slots):
            place = word * n_slots + (places[slot] if places else slot)
            if place < values.shape[-1]:
                words[..., word] |= values[..., place].astype(np.uint64) << np.uint64(bits * slot)
    return words.astype(np.uint32)


def pack(q: Quantised, layout: Layout) -> PackedMatrix:
    """Return the matrix as ``layout`` stores it."""
    if layout is Layout.AWQ_GEMM:
        qweight = pack_words(q.codes, 4, AWQ_PLACES)
        qzeros = pack_words(q.zeros, 4, AWQ_PLACES)
    else:
        stored = q.zeros if layout is Layout.GPTQ_V2 else (q.zeros - 1) % 2**q.bits
        qweight = np.ascontiguousarray(pack_words(q.codes.T, q.bits).T)
        qzeros = pack_words(stored, q.bits)
    return PackedMatrix(layout, q.bits, len(q.codes), qweight, qzeros, q.scales)


RUN_ORDER = [8 * a + 2 * b + c for b in range(4) for a in range(4) for c in range(2)]
"""The order of 32 inputs in gemv_fast, of which each eight is in the order of AWQ_PLACES."""


def pack_gemv(q: Quantised) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return qweight, qzeros and scales as AWQ's layout "gemv" has them."""
    scales = np.ascontiguousarray(_filled(q.scales, q.group_size).T)
    return pack_words(q.codes.T, 4), pack_words(_filled(q.zeros, q.group_size).T, 4), scales


def pack_gemv_fast(q: Quantised) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return qweight, qzeros and scales as AWQ's layout "gemv_fast" has them."""
    n_inputs, n_outputs = q.codes.shape
    order = [RUN_ORDER[8 * (i // 8) + AWQ_PLACES[i % 8]] for i in range(32)]
    qweight = np.zeros((n_outputs // 4, n_inputs), np.uint16)
    for four in range(n_outputs // 4):
        for start in range(0, n_inputs, 64):
            inputs = [start + 32 * half + place for half in (0, 1) for place in order]
            codes = [q.codes[one, 4 * four + row] for row in range(4) for one in inputs]
            for element in range(64):
                nibbles = codes[4 * element : 4 * element + 4]
                word = sum(int(code) << (4 * slot) for slot, code in enumerate(nibbles))
                qweight[four, start + element] = word
    minima = -(q.zeros * q.scales.astype(np.float32)).astype(np.float16)
    return qweight, _filled(minima, q.group_size), _filled(q.scales, q.group_size)


def _filled(groups: np.ndarray, group_size: int) -> np.ndarray:
    """Fill the groups up to as many as the kernels for ``group_size`` load at once."""
    multiple = 8 * {64: 2, 32: 4}.get(group_size, 1)
    return np.pad(groups, ((0, -len(groups) % multiple), (0, 0)))
