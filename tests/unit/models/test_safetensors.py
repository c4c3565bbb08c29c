"""The safetensors reader, against the safetensors package and by hand."""

import io
import json
import struct
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save_file

from qtool.errors import IntegrityError, NotFoundError
from qtool.models.safetensors import (
    DTYPE_BITS,
    SafetensorsHeader,
    read_safetensors_header,
    read_safetensors_index,
)
from tests.unit.models.build import safetensors, safetensors_of

VALID = safetensors_of({"a.weight": ("F16", [3, 5]), "b": ("F32", [2]), "c": ("U8", [0])})


def read(data: bytes) -> SafetensorsHeader:
    return read_safetensors_header(io.BytesIO(data), name="x.safetensors")


def entry(dtype: str, shape: object, start: object, end: object) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def test_header_agrees_with_the_safetensors_package(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    tensors = {
        "half": np.zeros((3, 5), np.float16),
        "bytes": np.zeros((7,), np.uint8),
        "scalar": np.zeros((), np.float64),
        "empty": np.zeros((0, 4), np.int32),
        "flags": np.zeros((3,), np.bool_),
    }
    save_file(tensors, path, metadata={"format": "pt"})
    header = read_safetensors_header(path)
    assert header.metadata == {"format": "pt"}
    assert {t.name: (t.shape, t.n_bytes, t.n_elements) for t in header.tensors} == {
        name: (array.shape, array.nbytes, array.size) for name, array in tensors.items()
    }
    assert header.data_offset + header.tensor_bytes == path.stat().st_size == header.size_bytes


@pytest.mark.parametrize("dtype", sorted(DTYPE_BITS))
def test_size_of_dtype_is_that_of_the_safetensors_package(dtype: str) -> None:
    n_bytes = DTYPE_BITS[dtype]  # of eight elements
    right = safetensors({"t": entry(dtype, [8], 0, n_bytes)}, n_bytes)
    wrong = safetensors({"t": entry(dtype, [8], 0, n_bytes + 1)}, n_bytes + 1)
    assert len(deserialize(right)) == len(read(right).tensors) == 1
    for reader, error in ((deserialize, SafetensorError), (read, IntegrityError)):
        with pytest.raises(error):
            reader(wrong)


def test_tensors_are_in_the_order_of_their_data() -> None:
    data = safetensors({"b": entry("U8", [1], 0, 1), "a": entry("U8", [2], 1, 3)}, 3)
    assert [tensor.name for tensor in read(data).tensors] == ["b", "a"]


@pytest.mark.parametrize("missing", [1, 30, 38])
def test_truncated_file_says_how_many_bytes_are_missing(missing: int) -> None:
    with pytest.raises(IntegrityError, match=f"truncated: {missing} of {len(VALID)} bytes"):
        read(VALID[:-missing])


def test_truncated_header_says_how_many_bytes_are_missing() -> None:
    with pytest.raises(IntegrityError, match="truncated: 93 bytes of its header are missing"):
        read(struct.pack("<Q", 100) + b"{" + bytes(6))


U8 = entry("U8", [1], 0, 1)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a safetensors file"),
        (b"\0" * 100, "filled with zeros"),
        (b"<html>" + bytes(100), "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (struct.pack("<Q", 2**64 - 1), "not a safetensors file"),
        (struct.pack("<Q", 100_000_001) + bytes(100), "not a safetensors file"),
        (safetensors(b"[]"), "an object was expected"),
        (safetensors(b"{"), "not valid JSON"),
        (safetensors(b'{"a":1} x'), "not valid JSON"),
        (safetensors(b"\xef\xbb\xbf{}"), "not valid JSON"),
        (safetensors('{"a":1}'.encode("utf-16")), "not valid JSON"),
        (safetensors(b'{"\xff":1}'), "not valid JSON"),
        (safetensors(b'{"__metadata__":NaN}'), "not valid JSON"),
        (safetensors(b'{"__metadata__":{},"__metadata__":{}}'), "duplicate key"),
        (safetensors(b'{"a":{"dtype":"U8","dtype":"U8"}}'), "duplicate key"),
        (safetensors(b'{"\\ud800":{}}'), "not valid JSON"),
        (safetensors(b'{"a":' + b"[" * 100_000), "nested too deeply"),
        (safetensors(b'{"a":' + b'{"a":' * 100_000), "nested too deeply"),
        (safetensors(b'{"a":' + b"9" * 10_000 + b"}"), "not valid JSON"),
        (safetensors({"__metadata__": {"a": 1}}), "__metadata__"),
        (safetensors({"__metadata__": []}), "__metadata__"),
        (safetensors({"a": 7}), "'a' is described by 7"),
        (safetensors({"a": ["U8", [1], [0, 1]]}, 1), "not by an object"),
        (safetensors({"a": entry("U9", [1], 0, 1)}, 1), "unknown dtype 'U9'"),
        (safetensors({"a": entry([], [1], 0, 1)}, 1), "unknown dtype"),  # type: ignore[arg-type]
        (safetensors({"a": entry("U8", 1, 0, 1)}, 1), "invalid shape"),
        (safetensors({"a": entry("U8", [1.0], 0, 1)}, 1), "invalid shape"),
        (safetensors({"a": entry("U8", [True], 0, 1)}, 1), "invalid shape"),
        (safetensors({"a": entry("U8", [-1], 0, 1)}, 1), "invalid shape"),
        (safetensors({"a": entry("U8", [2**64], 0, 1)}, 1), "invalid shape"),
        (safetensors({"a": entry("U8", [1], 1, 0)}, 1), "invalid data_offsets"),
        (safetensors({"a": entry("U8", [1], 0, None)}, 1), "invalid data_offsets"),
        (safetensors({"a": {"dtype": "U8", "shape": [1]}}, 1), "invalid data_offsets"),
        (safetensors({"a": entry("F64", [2**32, 2**32, 0], 0, 0)}), "larger than any memory"),
        (safetensors({"a": entry("F4", [3], 0, 2)}, 2), "make 12 bits"),
        (safetensors({"a": entry("U8", [1], 0, 2)}, 2), "make 8 bits"),
        (safetensors({"a": U8, "b": U8}, 1), "begins at byte 0 of the data, but byte 1"),
        (safetensors({"a": entry("U8", [1], 1, 2)}, 2), "begins at byte 1 of the data, but byte 0"),
        (safetensors({"a": entry("U8", [1], 2**63, 2**63 + 1)}), "begins at byte"),
        (safetensors({"a": U8}, 3), "2 bytes more"),
        (safetensors({"a": entry("U8", [2**50], 0, 2**50)}, 3), "are missing"),
    ],
)
def test_damage_is_named(data: bytes, message: str) -> None:
    with pytest.raises(IntegrityError, match=message) as caught:
        read(data)
    assert "x.safetensors" in caught.value.message
    assert caught.value.message.isprintable()


def test_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_safetensors_header(tmp_path / "x.safetensors")


def check(data: bytes) -> None:
    """Read within bounds; what we accept, the reference reader has to accept as well."""
    file = io.BytesIO(data)
    tracemalloc.start()
    start = time.perf_counter()
    try:
        header = read_safetensors_header(file, name="x")
    except IntegrityError:
        header = None
    finally:
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert time.perf_counter() - start < 1
    assert peak_bytes < 2**20
    if header is not None and b"-0" not in data:  # which serde takes for a float
        assert len(deserialize(data)) == len(header.tensors)


@given(st.binary(max_size=100))
def test_arbitrary_bytes(data: bytes) -> None:
    check(data)


@given(st.integers(0, len(VALID) - 1), st.binary(max_size=3), st.integers(0, 3))
@settings(max_examples=150)
def test_bytes_replaced_anywhere(position: int, put: bytes, n_removed: int) -> None:
    check(VALID[:position] + put + VALID[position + n_removed :])


NUMBERS = st.sampled_from([0, 1, 2, 8, 2**31, 2**32, 2**63, 2**64 - 1, 2**64, -1, 1.5, None])
ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([*DTYPE_BITS, "F9", 3]),
        "shape": st.lists(NUMBERS, max_size=4),
        "data_offsets": st.lists(NUMBERS, max_size=3),
    }
)


@given(st.dictionaries(st.sampled_from(["a", "b", "__metadata__"]), ENTRIES), st.integers(0, 9))
@settings(max_examples=150)
@example({"a": entry("C64", [1], 0, 8)}, 8)
def test_entries_of_any_numbers(header: dict[str, Any], n_data_bytes: int) -> None:
    check(safetensors(header, n_data_bytes))


@given(
    st.lists(st.sampled_from([0, 1, 2, 3, 8, 2**32]), max_size=3), st.sampled_from(["F4", "F64"])
)
def test_consistent_entries_are_accepted_exactly_when_the_package_does(
    shape: list[int], dtype: str
) -> None:
    n_bytes = int(np.prod([DTYPE_BITS[dtype], *shape], dtype=object)) // 8
    if n_bytes > 1000:
        return
    data = safetensors({"t": entry(dtype, shape, 0, n_bytes)}, n_bytes)
    try:
        deserialize(data)
    except SafetensorError:
        with pytest.raises(IntegrityError):
            read(data)
    else:
        assert read(data).tensors[0].n_bytes == n_bytes


def write_index(folder: Path, content: object) -> Path:
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps(content))
    return path


def test_index_names_its_shards(tmp_path: Path) -> None:
    content = {
        "metadata": {"total_size": 12},
        "weight_map": {"a": "2.st", "b": "1.st", "c": "2.st"},
    }
    index = read_safetensors_index(write_index(tmp_path, content))
    assert index.shards == ("1.st", "2.st")
    assert index.total_size_bytes == 12


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "an object was expected"),
        ({}, "no 'weight_map'"),
        ({"weight_map": []}, "'weight_map' should be an object"),
        ({"weight_map": {"a": 1}}, "'a' should be the name of a file, not 1"),
        ({"weight_map": {"a": "../x"}}, "outside"),
        ({"weight_map": {"a": "/etc/passwd"}}, "outside"),
        ({"weight_map": {"a": "x/../../y"}}, "outside"),
        ({"weight_map": {"a": "..\\x"}}, "outside"),
        ({"weight_map": {"a": "C:\\x"}}, "outside"),
        ({"weight_map": {"a": ""}}, "outside"),
        ({"weight_map": {"a": "x\0"}}, "outside"),
        ({"weight_map": {}, "metadata": {"total_size": "big"}}, "'total_size' should be"),
        ({"weight_map": {}, "metadata": {"total_size": -1}}, "'total_size' should be"),
    ],
)
def test_damaged_index_is_refused(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(IntegrityError, match=message):
        read_safetensors_index(write_index(tmp_path, content))
