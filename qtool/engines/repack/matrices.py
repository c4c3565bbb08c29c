"""Finding the quantised matrices of a checkpoint, and refusing those that have no exact form."""

from typing import TYPE_CHECKING, Any

import numpy as np

from qtool.engines.repack.blocks import NotRepresentable, choose_type
from qtool.engines.repack.gemv import (
    CODES_IN_WORD,
    INPUTS_IN_RUN,
    OUTPUTS_IN_ELEMENT,
    gptq_words,
    gptq_zeros,
)
from qtool.engines.repack.packed import WORD_BITS, PackedMatrix
from qtool.engines.repack.refusal import NotRepackable
from qtool.errors import IntegrityError
from qtool.language.message import say
from qtool.models.info import Quantization
from qtool.models.repackable import AWQ_LAYOUTS, Layout

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
        qweight = self._checkpoint.read(module + QWEIGHT)
        _require_matrix(module, qweight)
        if self._is_for_rows:
            qweight = gptq_words(self._layout, qweight)
        return self._matrix(module, qweight)

    def shape_of(self, module: str) -> tuple[int, int]:
        """Return (outputs, inputs) of ``module`` from the headers alone."""
        rows, columns = self._shape(module)
        match self._layout:
            case Layout.AWQ_GEMV:
                return rows, columns * CODES_IN_WORD
            case Layout.AWQ_GEMV_FAST:
                if columns % INPUTS_IN_RUN:
                    raise IntegrityError(f"{module}.qweight has {columns} columns")
                return rows * OUTPUTS_IN_ELEMENT, columns
            case _:
                n_outputs = self._checkpoint.find(module + ".scales").shape[-1]
                return n_outputs, self._width(module, rows)[1]

    def type_of(self, module: str) -> "GgmlType":
        """Return the type that holds the matrix exactly, without reading its codes.

        Raises:
            IntegrityError: see ``read``.
            NotRepackable: there is none, or its inputs are permuted.
        """
        shape = self._shape(module)
        if self._is_for_rows:
            n_outputs, n_inputs = self.shape_of(module)
            shape = (n_inputs // CODES_IN_WORD, n_outputs)
        try:
            return choose_type(self._matrix(module, np.broadcast_to(np.uint32(0), shape)))
        except NotRepresentable as exc:
            raise NotRepackable(f"{module}: {exc}") from exc

    @property
    def _is_for_rows(self) -> bool:
        return self._layout in (Layout.AWQ_GEMV, Layout.AWQ_GEMV_FAST)

    def _shape(self, module: str) -> tuple[int, int]:
        shape = self._checkpoint.find(module + QWEIGHT).shape
        if len(shape) != 2:
            raise IntegrityError(f"{module}.qweight should be a matrix")
        return shape[0], shape[1]

    def _matrix(self, module: str, qweight: "NDArray[Any]") -> PackedMatrix:
        qzeros, scales = (self._checkpoint.read(module + part) for part in (".qzeros", ".scales"))
        _require_matrix(module, qzeros, scales)
        if scales.dtype.kind != "f":
            raise IntegrityError(f"{module}.scales should be floats")
        layout = self._layout
        if self._is_for_rows:
            layout = Layout.GPTQ_V2
            qzeros, scales = self._zeros(module, qweight.shape[0] * CODES_IN_WORD, qzeros, scales)
        bits, n_inputs = self._width(module, qweight.shape[0])
        matrix = PackedMatrix(layout, bits, n_inputs, qweight, qzeros, scales)
        _check_shapes(module, matrix)
        self._check_order(module, matrix)
        return matrix

    def _zeros(
        self, module: str, n_inputs: int, qzeros: "NDArray[Any]", scales: "NDArray[Any]"
    ) -> "tuple[NDArray[Any], NDArray[Any]]":
        """Rewrite what is filled up: only the stated group size tells how many groups there are."""
        group_size = self._quantization.group_size
        if group_size is None:
            raise NotRepackable("its group size is not stated")
        n_groups, rest = divmod(n_inputs, group_size) if group_size > 0 else (1, 0)
        is_gemv = self._layout is Layout.AWQ_GEMV
        n_filled = scales.shape[1 if is_gemv else 0]
        expected = (len(scales), n_filled // CODES_IN_WORD) if is_gemv else scales.shape
        if qzeros.shape != expected or n_filled < n_groups or rest:
            raise IntegrityError(
                f"{module}: qzeros {qzeros.shape} and scales {scales.shape} do not fit"
                f" {n_inputs} inputs in groups of {group_size}"
            )
        return gptq_zeros(self._layout, qzeros, scales, n_groups)

    def _width(self, module: str, n_rows: int) -> tuple[int, int]:
        """Return the bits of a code and the number of inputs. A checkpoint may mix widths; where
        there is a g_idx, it has an entry for each input."""
        bits = int(self._quantization.bits or 4)
        if self._layout in AWQ_LAYOUTS:
            if bits != 4:
                raise NotRepackable(f"AWQ with {bits} bits")
            return bits, n_rows * (CODES_IN_WORD if self._is_for_rows else 1)
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
            permuted = say("{module}: its inputs are permuted (act-order, desc_act)", module=module)
            raise NotRepackable(permuted)


def _require_matrix(module: str, *parts: "NDArray[Any]") -> None:
    if any(part.ndim != 2 for part in parts):
        raise IntegrityError(f"{module}: qweight, qzeros and scales should be matrices")


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
