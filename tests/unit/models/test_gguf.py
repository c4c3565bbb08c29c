"""The GGUF reader, against the gguf package and by hand."""

import io
import random
import struct
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGUFEndian, GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType

from qtool.errors import IntegrityError, NotFoundError, UsageError
from qtool.models.ggml_types import BLOCK_LAYOUTS, FILE_TYPE_LABELS, GgmlType
from qtool.models.gguf import ArraySummary, GgufHeader, GgufType, read_array, read_gguf_header
from qtool.models.gguf_header import check_parts
from tests.unit.models.build import ARRAY, F16, LLAMA, Q4_0, gguf, llama_gguf, tensor, text, value


def read(data: bytes) -> GgufHeader:
    return read_gguf_header(io.BytesIO(data), name="x.gguf")


def assert_agrees_with_oracle(path: Path) -> GgufHeader:
    """Compare everything that both readers say."""
    ours, theirs = read_gguf_header(path), GGUFReader(path)
    their_keys = [key for key in theirs.fields if not key.startswith("GGUF.")]
    assert list(ours.metadata) == their_keys
    for key in their_keys:
        found, field = ours.metadata[key], theirs.fields[key]
        if isinstance(found, ArraySummary):
            assert found.count == len(field.data)
            assert list(read_array(path, ours, key)) == field.contents()
        else:
            assert found == field.contents()
    assert [
        (each.name, list(each.shape), each.type, ours.data_offset + each.offset, each.n_bytes)
        for each in ours.tensors
    ] == [
        (each.name, each.shape.tolist(), each.tensor_type, each.data_offset, each.n_bytes)
        for each in theirs.tensors
    ]
    assert (ours.data_offset, ours.alignment) == (theirs.data_offset, theirs.alignment)
    return ours


def write_with_oracle(path: Path, *, order: GGUFEndian = GGUFEndian.LITTLE) -> Path:
    """A file with a value of every type and tensors of several."""
    writer = GGUFWriter(path, "llama", endianess=order)
    writer.add_custom_alignment(64)
    writer.add_uint8("a.u8", 255)
    writer.add_int8("a.i8", -128)
    writer.add_uint16("a.u16", 65535)
    writer.add_int16("a.i16", -32768)
    writer.add_uint32("a.u32", 2**32 - 1)
    writer.add_int32("a.i32", -(2**31))
    writer.add_uint64("a.u64", 2**64 - 1)
    writer.add_int64("a.i64", -(2**63))
    writer.add_float32("a.f32", 0.5)
    writer.add_float64("a.f64", 0.1)
    writer.add_bool("a.bool", True)
    writer.add_string("a.text", "模型 🙂")
    writer.add_array("a.texts", ["", "a", "é"])
    writer.add_array("a.ints", list(range(10_000)))
    writer.add_array("a.floats", [0.5, 1.5])
    writer.add_array("a.flags", [True, False])
    writer.add_key_value("a.u16s", [1, 2], GGUFValueType.ARRAY, sub_type=GGUFValueType.UINT16)
    writer.add_tensor("half", np.zeros((3, 5), np.float16))
    writer.add_tensor("single", np.zeros((2, 3, 4, 5), np.float32))
    writer.add_tensor("one", np.zeros((1,), np.float64))
    writer.add_tensor("blocks", np.zeros((4, 144), np.uint8), raw_dtype=GgmlType.Q4_K)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("order", list(GGUFEndian))
def test_header_agrees_with_the_gguf_package(tmp_path: Path, order: GGUFEndian) -> None:
    header = assert_agrees_with_oracle(write_with_oracle(tmp_path / "x.gguf", order=order))
    assert header.byte_order == ("little" if order is GGUFEndian.LITTLE else "big")
    assert header.tensors[-1].shape == (256, 4)
    assert header.tensors[-1].n_bytes == 4 * 144


def test_block_layouts_are_those_of_the_gguf_package() -> None:
    theirs = {int(kind): tuple(sizes) for kind, sizes in GGML_QUANT_SIZES.items()}
    ours = {int(kind): tuple(layout) for kind, layout in BLOCK_LAYOUTS.items()}
    assert theirs.items() <= ours.items()
    assert set(BLOCK_LAYOUTS) == set(GgmlType)


def test_file_types_are_those_of_the_gguf_package() -> None:
    for member in LlamaFileType:
        if member is not LlamaFileType.GUESSED:
            assert FILE_TYPE_LABELS[member] == member.name.partition("_")[2]


def test_hand_made_file_is_read_as_it_was_made() -> None:
    header = read(llama_gguf())
    assert (header.version, header.alignment, header.n_params) == (3, 32, 64 * 3 + 64)
    assert header.tensor_bytes == 3 * 2 * 18 + 64 * 4
    assert header.metadata["llama.block_count"] == 2
    tokens = header.metadata["tokenizer.ggml.tokens"]
    assert isinstance(tokens, ArraySummary)
    assert (tokens.element_type, tokens.count, tokens.values) == (GgufType.STRING, 3, None)


def test_file_without_tensors_is_a_vocabulary() -> None:
    assert read(gguf({"general.architecture": "llama"})).tensors == ()


def test_arrays_within_arrays_are_stepped_over() -> None:
    inner = value(["a", "b"])[4:]  # an array's type of elements, count and elements
    nested = struct.pack("<IIQ", ARRAY, ARRAY, 2) + inner + inner
    header = read(gguf({"nested": nested, "after": 7}))
    assert header.metadata["after"] == 7
    with pytest.raises(KeyError):
        read_array(io.BytesIO(), header, "nested")


def test_undecodable_text_is_replaced_in_values() -> None:
    odd = struct.pack("<I", 8) + text(b"\xff\xfe")
    assert read(gguf({"general.name": odd})).metadata["general.name"] == "\ufffd\ufffd"


def test_vocabulary_of_152k_tokens_is_read_in_a_blink() -> None:
    rng = random.Random(7)
    tokens = ["x" * rng.randrange(1, 12) for _ in range(152_000)]
    data = gguf({**LLAMA, "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.merges": tokens})
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        header = read(data)
        seconds.append(time.perf_counter() - start)
    assert header.metadata["llama.block_count"] == 2
    assert min(seconds) < 0.3  # 0.04 on the machine it was written on


def test_memory_stays_small_whatever_the_size_of_the_vocabulary() -> None:
    file = io.BytesIO(gguf({"tokens": ["x" * 40] * 300_000}))
    tracemalloc.start()
    try:
        read_gguf_header(file)
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    finally:
        tracemalloc.stop()


def test_strings_across_chunks_are_read_whole() -> None:
    tokens = ["a" * 300_000, "b" * 1_500_000, "", "c" * 700_000] * 3
    header = read(data := gguf({"tokens": tokens, "after": "z"}))
    assert header.metadata["after"] == "z"
    assert list(read_array(io.BytesIO(data), header, "tokens")) == tokens


@pytest.mark.parametrize("missing", [1, 100, 384])
def test_truncated_file_says_how_many_bytes_are_missing(missing: int) -> None:
    data = llama_gguf()
    with pytest.raises(IntegrityError, match=f"truncated: {missing} of {len(data)} bytes"):
        read(data[:-missing])


def test_text_beyond_all_credibility_is_refused_though_the_file_has_it(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    n_bytes = 40 * 2**20
    first = gguf({"a": struct.pack("<IQ", 8, n_bytes)}, n_metadata=2)
    with path.open("wb") as file:
        file.write(first)
        file.seek(n_bytes, io.SEEK_CUR)
        file.write(text("b") + struct.pack("<IQ", 8, n_bytes))
        file.truncate(3 * n_bytes)
    with pytest.raises(IntegrityError, match=f"a text of {n_bytes} bytes .* is too long"):
        read_gguf_header(path)


def test_file_that_shrinks_meanwhile_is_refused() -> None:
    class Shrinking(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(size)[:50]

    with pytest.raises(IntegrityError, match="became shorter while it was being read"):
        read_gguf_header(Shrinking(llama_gguf()))


def test_file_that_cannot_be_read_is_an_integrity_error() -> None:
    unreadable = Path("/proc/self/mem")  # page 0 is not mapped
    if not unreadable.exists():
        pytest.skip("no /proc here")
    with pytest.raises(IntegrityError, match="cannot be read"):
        read_gguf_header(unreadable)


@pytest.mark.parametrize("length", [0, 3, 4, 7, 8, 20, 24, 30, 100, 300])
def test_file_cut_within_its_header_is_refused(length: int) -> None:
    with pytest.raises(IntegrityError):
        read(llama_gguf()[:length])


def test_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_gguf_header(tmp_path / "x.gguf")


def test_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        read_gguf_header(tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"not a GGUF file \(it is empty\)"),
        (b"ggml" + bytes(100), r"not a GGUF file \(it starts with 67 67 6d 6c 00 00 00 00\)"),
        (b"hello world", r"not a GGUF file \(it starts with 'hello wo'\)"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "Git LFS pointer"),
        (bytes(4096), "filled with zeros"),
        (gguf(version=1), "GGUF version 1 "),
        (gguf(version=4), "GGUF version 4 "),
        (gguf(version=2, order=">"), r"version 2 \(big-endian\)"),
        (gguf(version=0), "GGUF version 0 "),
        (gguf(n_tensors=2**64 - 1), "claims 18446744073709551615 tensors"),
        (gguf(n_metadata=2**63), "claims 9223372036854775808 metadata keys"),
        (gguf(n_tensors=3), "truncated or damaged"),
        (gguf([("a", 1), ("a", 1)]), "'a' occurs twice"),
        (gguf({"a": struct.pack("<I", 13)}), "13 at offset"),
        (gguf({"a": struct.pack("<IB", 7, 2)}), "neither 0 nor 1"),
        (gguf({"a": struct.pack("<IQ", 8, 2**64 - 1)}), "truncated or damaged"),
        (gguf({"a": struct.pack("<IQ", 8, 2**63 - 1)}), "truncated or damaged"),
        (gguf({"a": struct.pack("<IIQ", 9, 8, 2**61)}), "not credible"),
        (gguf({"a": struct.pack("<IIQ", 9, 8, 2**20)}), "truncated or damaged"),
        (gguf({"a": struct.pack("<IIQQ", 9, 8, 1, 2**64 - 1)}), "truncated or damaged"),
        (gguf({"a": struct.pack("<IIQ", 9, 4, 2**64 - 1)}), "truncated or damaged"),
        (gguf({"a": struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 8}), "too deeply"),
        (gguf({"a": struct.pack("<I", 9) + struct.pack("<IQ", 9, 2**40)}), "not credible"),
        (gguf({b"\xff".decode("latin-1"): 1}).replace(b"\xc3\xbf", b"\xff\xff"), "not UTF-8"),
        (gguf({"general.alignment": 0}), "general.alignment"),
        (gguf({"general.alignment": 24}), "a power of two"),
        (gguf({"general.alignment": 2**31}), "general.alignment"),
        (gguf({"general.alignment": "32"}), "general.alignment"),
        (gguf(tensors=[tensor("t", [1] * 5)]), "5 dimensions"),
        (gguf(tensors=[tensor("t", [4], 4)]), "unknown type 4"),
        (gguf(tensors=[tensor("t", [33], Q4_0)]), r"cannot have the shape \(33,\)"),
        (gguf(tensors=[tensor("t", [2**62, 4])]), "cannot have the shape"),
        (gguf(tensors=[tensor("t", [2**63])]), "cannot have the shape"),
        (gguf(tensors=[tensor("t", [2**40])]), "truncated"),
        (gguf(tensors=[tensor("t", [8], offset=8)], n_data_bytes=64), "not aligned"),
        (gguf(tensors=[tensor("t", [8], offset=2**64 - 32)]), "truncated"),
        (gguf(tensors=[tensor("t", [8]), tensor("t", [8], offset=32)]), "occurs twice"),
        (
            gguf(tensors=[tensor("t", [16]), tensor("u", [8], offset=32)], n_data_bytes=64),
            "'t' and 'u' overlap",
        ),
        (gguf(tensors=[tensor(b"\xff", [8])]), "not UTF-8"),
    ],
)
def test_damage_is_named(data: bytes, message: str) -> None:
    with pytest.raises(IntegrityError, match=message) as caught:
        read(data)
    assert "x.gguf" in caught.value.message
    assert caught.value.message.isprintable()


def test_empty_tensors_may_share_a_place() -> None:
    tensors = [tensor("a", [0]), tensor("b", [8]), tensor("c", [0, 4], offset=32)]
    assert read(gguf(tensors=tensors, n_data_bytes=32)).n_params == 8


def test_version_2_is_read() -> None:
    assert read(gguf({"a": 1}, version=2)).metadata == {"a": 1}


def part(number: int, count: int, name: str, **extra: object) -> GgufHeader:
    return read(
        gguf(
            {"split.no": number, "split.count": count, **extra},
            [tensor(name, [4], F16)],
            n_data_bytes=8,
        )
    )


def test_parts_that_belong_together_are_accepted() -> None:
    extra = {"split.tensors.count": 2}
    check_parts([("a", part(0, 2, "x", **extra)), ("b", part(1, 2, "y", **extra))])


@pytest.mark.parametrize(
    ("second", "n_tensors", "message"),
    [
        (part(0, 2, "y"), 2, "should be part 2 of 2"),
        (part(1, 3, "y"), 2, "should be part 2 of 2"),
        (part(1, 2, "x"), 2, "in another part too"),
        (part(1, 2, "y"), 3, "3 tensors were split, its parts hold 2"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(
    second: GgufHeader, n_tensors: int, message: str
) -> None:
    first = part(0, 2, "x", **{"split.tensors.count": n_tensors})
    with pytest.raises(IntegrityError, match=message):
        check_parts([("a", first), ("b", second)])
