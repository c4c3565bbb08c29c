import pytest

from qtool.engines.context import llama_cpp_context_warnings


@pytest.mark.parametrize(("wanted", "is_said"), [(None, False), (256, False), (255, True)])
def test_context_that_llama_cpp_makes_longer_is_said(wanted: int | None, is_said: bool):
    warnings = llama_cpp_context_warnings(wanted)
    assert [f"--ctx {wanted} becomes 256" in one for one in warnings] == [True] * is_said
