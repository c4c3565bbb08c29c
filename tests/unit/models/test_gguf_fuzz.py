"""Hostile GGUF headers: a header or an IntegrityError, in bounded time and memory."""

import io
import struct
import time
import tracemalloc

from hypothesis import example, given, settings
from hypothesis import strategies as st

from qtool.errors import IntegrityError
from qtool.models.gguf import GgufHeader, read_gguf_header
from qtool.models.gguf_info import (
    gguf_architecture,
    gguf_attention,
    gguf_chat_template,
    gguf_context_length,
    gguf_quantization,
)
from tests.unit.models.build import gguf, llama_gguf, tensor

VALID = llama_gguf(**{"tokenizer.chat_template": "{{ messages }}", "x.list": [1, 2, 3]})
HEADER_BYTES = len(VALID) - 384
EXTREMES = [0, 1, 2**31 - 1, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 8, 2**64 - 1]


def read_within_bounds(data: bytes) -> GgufHeader | None:
    """Read a header and all that is made of it; None if it is refused."""
    file = io.BytesIO(data)
    tracemalloc.start()
    start = time.perf_counter()
    try:
        header = read_gguf_header(file, name="x")
        gguf_architecture(header, "x")
        gguf_context_length(header, "x")
        gguf_chat_template(header, "x")
        gguf_quantization([header], "x")
        gguf_attention(header, "x")
    except IntegrityError:
        header = None
    finally:
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert time.perf_counter() - start < 1
    assert peak_bytes < 4 * 2**20
    if header is not None:
        assert all(each.n_bytes <= len(data) for each in header.tensors)
    return header


@given(st.binary(max_size=200), st.booleans())
def test_arbitrary_bytes(data: bytes, has_magic: bool) -> None:
    read_within_bounds(b"GGUF\x03\0\0\0" + data if has_magic else data)


@given(st.integers(0, HEADER_BYTES - 1), st.integers(0, 255))
@settings(max_examples=200)
def test_one_byte_changed(position: int, byte: int) -> None:
    read_within_bounds(VALID[:position] + bytes([byte]) + VALID[position + 1 :])


@given(st.integers(0, len(VALID) - 1))
def test_cut_anywhere(length: int) -> None:
    assert read_within_bounds(VALID[:length]) is None


@given(st.integers(0, HEADER_BYTES - 8), st.sampled_from(EXTREMES), st.booleans())
@settings(max_examples=300)
@example(8, 2**64 - 1, False)
@example(16, 2**64 - 1, False)
def test_extreme_number_anywhere(position: int, number: int, is_inserted: bool) -> None:
    end = position if is_inserted else position + 8
    read_within_bounds(VALID[:position] + struct.pack("<Q", number) + VALID[end:])


@given(st.integers(0, HEADER_BYTES), st.integers(0, HEADER_BYTES), st.integers(0, HEADER_BYTES))
def test_piece_copied_elsewhere(start: int, end: int, to: int) -> None:
    read_within_bounds(VALID[:to] + VALID[start:end] + VALID[to:])


VALUES = st.one_of(
    st.integers(0, 2**32 - 1),
    st.booleans(),
    st.floats(width=32),
    st.text(max_size=8),
    st.lists(st.integers(0, 2**32 - 1), max_size=4),
    st.lists(st.text(max_size=4), max_size=3),
)
KEYS = st.sampled_from(
    [
        *("block_count", "context_length", "embedding_length", "attention.head_count"),
        *("attention.head_count_kv", "attention.key_length", "attention.value_length"),
        *("attention.sliding_window", "attention.sliding_window_pattern"),
        *("attention.kv_lora_rank", "attention.key_length_mla", "attention.value_length_mla"),
        *("attention.shared_kv_layers", "attention.key_length_swa", "rope.dimension_count"),
    ]
)


@given(st.dictionaries(KEYS, VALUES), st.sampled_from(["llama", "gemma3", "deepseek2"]))
@settings(max_examples=300)
def test_keys_with_values_of_any_type(values: dict[str, object], architecture: str) -> None:
    base = {"block_count": 4, "attention.head_count": 8, "embedding_length": 64}
    keys = {f"{architecture}.{key}": item for key, item in {**base, **values}.items()}
    read_within_bounds(gguf({"general.architecture": architecture, **keys}))


def test_many_tiny_items_take_bounded_time() -> None:
    """The worst that a file can do within the bounds: as many strings, keys and tensors."""
    strings = struct.pack("<IIQ", 9, 8, 2**20) + bytes(8 * 2**20)
    start = time.perf_counter()
    read_gguf_header(io.BytesIO(gguf({"a": strings})))
    assert time.perf_counter() - start < 1

    tensors = [tensor(f"t{index}", [0]) for index in range(20_000)]
    start = time.perf_counter()
    assert len(read_gguf_header(io.BytesIO(gguf(tensors=tensors))).tensors) == 20_000
    assert time.perf_counter() - start < 1
