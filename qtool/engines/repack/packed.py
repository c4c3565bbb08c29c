"""A quantised matrix as GPTQ and AWQ checkpoints store it, and its zero points.

K inputs, N outputs, g inputs of an output share a scale and a zero point; the value of a code is
``scale * (code - zero)``. ``words`` are 32 bits wide and hold 32 / bits codes.

- GPTQ: qweight (K / codes a word, N), code i of word r is that of input ``r * codes + i``, lowest
  bits first; qzeros (K / g, N / codes a word) hold the zero points minus one, or, in the format
  ``gptq_v2``, as they are.
- AWQ "gemm" (4 bits): qweight (K, N / 8), qzeros (K / g, N / 8); code i of a word is that of
  output ``AWQ_ORDER[i]`` of its eight. Its other layouts are rewritten first: see ``gemv``.

Sources: AutoGPTQ 0.7 auto_gptq/nn_modules/qlinear/qlinear_cuda_old.py (``pack``, ``forward``),
AutoAWQ 0.2 awq/utils/packing_utils.py.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qtool.models.repackable import Layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Words = NDArray[np.uint32]
    Bytes = NDArray[np.uint8]
    Floats = NDArray[np.floating[Any]]

AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
WORD_BITS = 32


@dataclass(frozen=True, slots=True, eq=False)
class PackedMatrix:
    """A matrix of ``n_outputs`` rows and ``n_inputs`` columns.

    ``scales`` (K / g, N) are float16 or float32; ``qweight`` and ``qzeros`` as the module says.
    """

    layout: Layout
    bits: int
    n_inputs: int
    qweight: "Words"
    qzeros: "Words"
    scales: "Floats"

    @property
    def n_outputs(self) -> int:
        return int(self.scales.shape[1])

    @property
    def n_groups(self) -> int:
        return int(self.scales.shape[0])

    @property
    def group_size(self) -> int:
        return self.n_inputs // self.n_groups


def unpack_zeros(matrix: PackedMatrix) -> "Bytes":
    """Return the zero points (K / g, N).

    The format of GPTQ 1 wraps a zero point of 0 around to the largest code; so does the way back.
    """
    bits = matrix.bits
    shifts = np.arange(0, WORD_BITS, bits, dtype=np.uint32)
    codes = (matrix.qzeros[:, :, None] >> shifts) & np.uint32(2**bits - 1)
    match matrix.layout:
        case Layout.GPTQ:
            codes = (codes + 1) & np.uint32(2**bits - 1)
        case Layout.AWQ_GEMM:
            codes = codes[:, :, np.argsort(AWQ_ORDER)]
        case Layout.GPTQ_V2:
            pass
    zeros = codes.reshape(len(codes), -1)[:, : matrix.n_outputs]
    return np.ascontiguousarray(zeros, dtype=np.uint8)
