"""Finding the quantised matrices of a checkpoint, and refusing those that have no exact form."""

from typing import TYPE_CHECKING, Any

import numpy as np

from qtool.engines.repack.blocks import NotRepresentable, choose_type
from qtool.engines.repack.packed import WORD_BITS, PackedMatrix
from qtool.engines.repack.refusal import NotRepackable
from qtool.errors import IntegrityError
from qtool.models.info import Quantization
from qtool.models.repackable import Layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qtool.engines.repack.tensors import Checkpoint
    from qtool.models.ggml_types import GgmlType

QWEIGHT = ".qweight"
_PARTS = (QWEIGHT, ".qzeros", ".scales", ".g_idx")


class Matrices:
    """The quantised matrices of a checkpoint, by the names of their modules."""

    def __init__(self, checkpoint: "Checkpoint", layout: Layout, quantization: Quantization):
        self._checkpoint = checkpoint
        self._layout = layout
        self._quantization = quantization

    @property
    def names(self) -> list[str]:
        """The modules that are quantised, in the order of the files."""
        tensors = self._checkpoint.tensors
        return [name.removesuffix(QWEIGHT) for name in tensors if name.endswith(QWEIGHT)]

    def owns(self, tensor: str) -> bool:
        """Tell whether ``tensor`` is a part of a quantised matrix."""
        return tensor.endswith(_PARTS)

    def read(self, module: str) -> PackedMatrix:
        """Return the matrix of ``module``.

        Raises:
            IntegrityError: a part is missing, or has a shape that contradicts the others.
            NotRepackable: its inputs are permuted (act-order).
        """
        return self._matrix(module, self._checkpoint.read(module + QWEIGHT))

    def _matrix(self, module: str, qweight: "NDArray[Any]") -> PackedMatrix:
        qzeros, scales = (self._checkpoint.read(module + part) for part in (".qzeros", ".scales"))
        if any(part.ndim != 2 for part in (qweight, qzeros, scales)) or scales.dtype.kind != "f":
            raise IntegrityError(f"{module}: qweight, qzeros and scales should be matrices")
        bits, n_inputs = self._width(module, qweight.shape[0])
        matrix = PackedMatrix(self._layout, bits, n_inputs, qweight, qzeros, scales)
        _check_shapes(module, matrix)
        self._check_order(module, matrix)
        return matrix

    def shape_of(self, module: str) -> tuple[int, int]:
        """Return (outputs, inputs) of ``module`` from the headers alone."""
        rows = self._checkpoint.find(module + QWEIGHT).shape[0]
        return self._checkpoint.find(module + ".scales").shape[1], self._width(module, rows)[1]

    def type_of(self, module: str) -> "GgmlType":
        """Return the type that holds the matrix exactly, without reading its codes.

        Raises:
            IntegrityError: see ``read``.
            NotRepackable: there is none, or its inputs are permuted.
        """
        shape = self._checkpoint.find(module + QWEIGHT).shape
        try:
            return choose_type(self._matrix(module, np.broadcast_to(np.uint32(0), shape)))
        except NotRepresentable as exc:
            raise NotRepackable(f"{module}: {exc}") from exc

    def _width(self, module: str, n_rows: int) -> tuple[int, int]:
        """Return the bits of a code and the number of inputs. A checkpoint may mix widths; where
        there is a g_idx, it has an entry for each input."""
        bits = int(self._quantization.bits or 4)
        if self._layout is Layout.AWQ_GEMM:
            if bits != 4:
                raise NotRepackable(f"AWQ with {bits} bits")
            return bits, n_rows
        order = self._checkpoint.tensors.get(module + ".g_idx")
        if order is not None and len(order.shape) == 1 and order.shape[0]:
            bits = n_rows * WORD_BITS // order.shape[0]
            return bits, order.shape[0]
        return bits, n_rows * WORD_BITS // bits

    def _check_order(self, module: str, matrix: PackedMatrix) -> None:
        if module + ".g_idx" not in self._checkpoint:
            return
        order = self._checkpoint.read(module + ".g_idx")
        plain = np.arange(matrix.n_inputs, dtype=order.dtype) // order.dtype.type(matrix.group_size)
        if not np.array_equal(order, plain):
            raise NotRepackable(f"{module}: its inputs are permuted (act-order, desc_act)")


def _check_shapes(module: str, matrix: PackedMatrix) -> None:
    per_word = WORD_BITS // matrix.bits
    n_inputs, n_outputs, n_groups = matrix.n_inputs, matrix.n_outputs, matrix.n_groups
    packed_outputs = -(-n_outputs // per_word)
    is_awq = matrix.layout is Layout.AWQ_GEMM
    qweight = (n_inputs, packed_outputs) if is_awq else (n_inputs // per_word, n_outputs)
    expected = {"qweight": qweight, "qzeros": (n_groups, packed_outputs)}
    for part, shape in expected.items():
        found = getattr(matrix, part).shape
        if found != shape:
            raise IntegrityError(f"{module}.{part} has the shape {found}, not {shape}")
    if not n_groups or n_inputs % n_groups or (is_awq and n_outputs % per_word):
        raise IntegrityError(f"{module}: {n_groups} groups do not divide {n_inputs} inputs")
