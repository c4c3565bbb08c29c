"""The real starter model, read by our header reader and by the reference implementation."""

from pathlib import Path

import pytest

from tests.unit.models.test_gguf import assert_agrees_with_oracle


@pytest.mark.model
def test_starter_model_agrees_with_the_gguf_package(starter_gguf: Path) -> None:
    header = assert_agrees_with_oracle(starter_gguf)
    assert header.n_params == 134_515_008
    assert header.data_offset + header.tensor_bytes == starter_gguf.stat().st_size
