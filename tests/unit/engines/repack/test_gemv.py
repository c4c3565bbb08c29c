"""AWQ's layouts "gemv" and "gemv_fast" against those that need no rewriting."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtool.engines.repack.blocks import NotRepresentable, choose_type, to_blocks
from qtool.engines.repack.gemv import gptq_words, gptq_zeros
from qtool.engines.repack.packed import PackedMatrix
from qtool.models.repackable import Layout
from tests.unit.engines.repack.packing import Quantised, pack, pack_gemv, pack_gemv_fast

PACKERS = {Layout.AWQ_GEMV: pack_gemv, Layout.AWQ_GEMV_FAST: pack_gemv_fast}


@st.composite
def quantised(draw: st.DrawFn) -> Quantised:
    """Draw a matrix of 64 to 256 inputs, in groups of 32 to 256, and 8 to 24 outputs."""
    n_inputs = 64 * draw(st.integers(1, 4))
    group = draw(st.sampled_from([size for size in (32, 64, n_inputs) if n_inputs % size == 0]))
    shape = (n_inputs // group, 8 * draw(st.integers(1, 3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    exponents = rng.integers(*draw(st.sampled_from([(-24, 11), (-12, -4)])), shape)
    scales = ((1 + rng.random(shape)) * 2.0**exponents).astype(np.float16)
    codes = rng.integers(0, 16, (n_inputs, shape[1]))
    return Quantised(codes, rng.integers(0, 16, shape), scales)


def rewritten(q: Quantised, layout: Layout) -> PackedMatrix:
    qweight, qzeros, scales = PACKERS[layout](q)
    zeros, scales = gptq_zeros(layout, qzeros, scales, len(q.scales))
    return PackedMatrix(Layout.GPTQ_V2, 4, len(q.codes), gptq_words(layout, qweight), zeros, scales)


@settings(max_examples=25)
@given(quantised(), st.sampled_from(list(PACKERS)))
def test_blocks_are_those_of_the_same_codes_in_the_plain_layout(
    q: Quantised, layout: Layout
) -> None:
    plain, found = pack(q, Layout.AWQ_GEMM), rewritten(q, layout)
    kind = choose_type(found)
    assert kind is choose_type(plain)
    assert np.array_equal(to_blocks(found, kind), to_blocks(plain, kind))


def matrix(zero: int = 5, scale: float = 0.1) -> Quantised:
    shape = (1, 8)
    codes = np.arange(512).reshape(64, 8) % 16
    return Quantised(codes, np.full(shape, zero), np.full(shape, scale, np.float16))


def test_minima_that_belong_to_no_zero_point_are_refused() -> None:
    _, minima, scales = pack_gemv_fast(matrix())
    minima[0, 3] *= 1.05
    with pytest.raises(NotRepresentable, match="no zero point"):
        gptq_zeros(Layout.AWQ_GEMV_FAST, minima, scales, 1)


def test_scales_that_are_not_finite_are_refused_as_such() -> None:
    with pytest.raises(NotRepresentable, match="not finite"):
        choose_type(rewritten(matrix(scale=float("nan")), Layout.AWQ_GEMV_FAST))


def test_groups_without_a_scale_are_zero() -> None:
    found = rewritten(matrix(scale=0.0), Layout.AWQ_GEMV_FAST)
    assert not to_blocks(found, choose_type(found))[:, :2].any()
