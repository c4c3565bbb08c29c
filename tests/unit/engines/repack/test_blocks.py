"""The blocks against the gguf package's own dequantiser and a plain reference."""

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtool.engines.repack.blocks import NotRepresentable, choose_type, to_blocks
from qtool.engines.repack.packed import PackedMatrix, unpack_zeros
from qtool.models.ggml_types import GgmlType
from qtool.models.repackable import Layout
from tests.unit.engines.repack.packing import PLAIN_LAYOUTS, Quantised, pack

HALF_EPSILON = 2.0**-11
SMALLEST_HALF = 2.0**-25


@st.composite
def quantised(draw: st.DrawFn, bits: int = 4, is_symmetric: bool = False) -> Quantised:
    """Draw a matrix: one to three groups of 32 to 96 inputs, 8 to 304 outputs."""
    group = 32 * draw(st.integers(1, 3))
    n_groups = draw(st.integers(1, 3))
    n_outputs = 8 * draw(st.integers(1, 4) | st.integers(30, 38))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (n_groups, n_outputs)
    zeros = np.full(shape, 2 ** (bits - 1)) if is_symmetric else rng.integers(0, 2**bits, shape)
    exponents = rng.integers(*draw(st.sampled_from([(-24, 12), (-12, -4), (0, 1)])), shape)
    scales = ((1 + rng.random(shape)) * 2.0**exponents).astype(np.float16)
    codes = rng.integers(0, 2**bits, (group * n_groups, n_outputs))
    return Quantised(codes, zeros, scales, bits)


def dequantised(matrix: PackedMatrix, kind: GgmlType) -> np.ndarray:
    """Return what gguf says the blocks stand for (K, N)."""
    blocks = to_blocks(matrix, kind)
    return gguf.dequantize(blocks, gguf.GGMLQuantizationType(kind)).T


@given(quantised(is_symmetric=True), st.sampled_from(PLAIN_LAYOUTS))
def test_symmetric_four_bits_become_q4_0_bit_for_bit(q: Quantised, layout: Layout) -> None:
    matrix = pack(q, layout)
    assert choose_type(matrix) is GgmlType.Q4_0
    assert np.array_equal(dequantised(matrix, GgmlType.Q4_0), q.values(np.float32))


@given(quantised(bits=8, is_symmetric=True), st.sampled_from([Layout.GPTQ, Layout.GPTQ_V2]))
def test_symmetric_eight_bits_become_q8_0_bit_for_bit(q: Quantised, layout: Layout) -> None:
    matrix = pack(q, layout)
    assert choose_type(matrix) is GgmlType.Q8_0
    assert np.array_equal(dequantised(matrix, GgmlType.Q8_0), q.values(np.float32))


@given(quantised(), st.sampled_from(PLAIN_LAYOUTS))
def test_zero_points_become_q4_1_with_one_rounding_of_the_minimum(
    q: Quantised, layout: Layout
) -> None:
    q.zeros[0, 0] = 3  # so that it is not symmetric by chance
    matrix = pack(q, layout)
    assert choose_type(matrix) is GgmlType.Q4_1
    group = np.arange(len(q.codes)) // q.group_size
    minima = (q.zeros * q.scales.astype(np.float64))[group]
    rounding = np.maximum(minima * HALF_EPSILON, SMALLEST_HALF)
    in_float32 = 2.0**-23 * (15 * q.scales.astype(np.float64)[group] + minima)
    error = np.abs(dequantised(matrix, GgmlType.Q4_1) - q.values())
    assert (error <= rounding + in_float32).all()


@given(quantised(), st.sampled_from(PLAIN_LAYOUTS))
def test_zero_points_are_unpacked(q: Quantised, layout: Layout) -> None:
    assert np.array_equal(unpack_zeros(pack(q, layout)), q.zeros)


def matrix_of(group: int = 32, scale: float = 0.5, bits: int = 4, zero: int = 8) -> PackedMatrix:
    zeros, scales = np.full((1, 8), zero), np.full((1, 8), scale, np.float32)
    return pack(Quantised(np.zeros((group, 8), int), zeros, scales, bits), Layout.GPTQ)


@pytest.mark.parametrize(
    ("matrix", "reason"),
    [
        (matrix_of(group=16), "group size of 16"),
        (matrix_of(scale=float("nan")), "not finite"),
        (matrix_of(scale=float("inf")), "not finite"),
        (matrix_of(scale=1e6), "float16"),
        (matrix_of(scale=0.1), "float16"),
        (matrix_of(bits=2, zero=1), "2 bits"),
        (matrix_of(bits=8, zero=100), "zero points"),
    ],
)
def test_what_no_block_holds_is_refused(matrix: PackedMatrix, reason: str) -> None:
    with pytest.raises(NotRepresentable, match=reason):
        choose_type(matrix)


def test_minima_too_large_for_float16_are_refused() -> None:
    matrix = matrix_of(scale=60000.0, zero=15)
    with pytest.raises(NotRepresentable, match="minima"):
        to_blocks(matrix, choose_type(matrix))
