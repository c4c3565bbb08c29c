"""Packs codes as the checkpoints' own tools do, word by word, and says what they stand for.

Plain loops over words, on purpose unlike the code they test.
"""

from dataclasses import dataclass

import numpy as np

from qtool.engines.repack.packed import PackedMatrix
from qtool.models.repackable import Layout

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
