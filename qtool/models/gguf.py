"""Reading the header of a GGUF file: metadata and tensor directory, not the weights.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. A vocabulary of 150,000
tokens makes an array of as many strings; these are stepped over, not decoded, which is what makes
this reader a hundred times as fast as the ``gguf`` package.

A header is not to be trusted. Every length is checked against the bytes left in the file before
anything is read or allocated, and everything that is counted is bounded, so that a damaged or
hostile file costs bounded time and memory and ends in an IntegrityError.
"""

import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import BinaryIO

from qtool.errors import IntegrityError
from qtool.models.fields import Fields, brief
from qtool.models.ggml_types import BLOCK_LAYOUTS, GgmlType
from qtool.models.gguf_cursor import Cursor
from qtool.models.gguf_header import (
    ArraySummary,
    GgufHeader,
    GgufTensor,
    GgufType,
    GgufValue,
    check_layout,
)
from qtool.models.weight_file import REFETCH_HINT, beginning, impostor, open_weights

__all__ = [
    "ArraySummary",
    "GgufHeader",
    "GgufTensor",
    "GgufType",
    "GgufValue",
    "read_array",
    "read_gguf_header",
]

MAGIC = b"GGUF"
DEFAULT_ALIGNMENT = 32

# Bounds on what a header may ask of us. The largest real models have about 2,000 tensors in a
# file, 60 keys of metadata and 800,000 strings in arrays (vocabulary and merges).
_MAX_TENSORS = 2**16
_MAX_METADATA = 2**16
_MAX_DIMENSIONS = 4  # GGML_MAX_DIMS
_MAX_ELEMENTS = 2**63 - 1  # ggml counts in int64
_MAX_ALIGNMENT = 2**20
_MAX_ARRAY_DEPTH = 4
_MAX_INLINE_ELEMENTS = 4096  # short numeric arrays describe layers and are wanted by value


_SCALAR_CODES: Mapping[GgufType, str] = {
    GgufType.UINT8: "B",
    GgufType.INT8: "b",
    GgufType.UINT16: "H",
    GgufType.INT16: "h",
    GgufType.UINT32: "I",
    GgufType.INT32: "i",
    GgufType.FLOAT32: "f",
    GgufType.BOOL: "B",
    GgufType.UINT64: "Q",
    GgufType.INT64: "q",
    GgufType.FLOAT64: "d",
}


def read_gguf_header(source: Path | BinaryIO, *, name: str | None = None) -> GgufHeader:
    """Read the header of a GGUF file, version 2 or 3, of either byte order.

    ``source`` is a path or a seekable binary file, of which the header and no more is read, in
    pieces of 1 MiB; ``name`` stands for it in messages.

    Raises:
        NotFoundError: there is no such file.
        IntegrityError: not a GGUF file, damaged, or shorter than its tensors; then the message
            says how many bytes are missing.
    """
    if isinstance(source, Path):
        with open_weights(source) as file:
            return read_gguf_header(file, name=name or str(source))
    cursor = Cursor(source, name or "GGUF file")
    version = _read_version(cursor)
    n_tensors, n_metadata = cursor.unpack("QQ")
    _check_count(cursor, n_tensors, _MAX_TENSORS, "tensors")
    _check_count(cursor, n_metadata, _MAX_METADATA, "metadata keys")
    metadata = _read_metadata(cursor, n_metadata)
    alignment = _alignment(metadata, cursor.name)
    tensors = tuple(_read_tensor(cursor) for _ in range(n_tensors))
    data_offset = -(-cursor.offset // alignment) * alignment if tensors else cursor.offset
    header = GgufHeader(
        version, cursor.byte_order, metadata, tensors, alignment, data_offset, cursor.size
    )
    check_layout(header, cursor.name)
    return header


def read_array(source: Path | BinaryIO, header: GgufHeader, key: str) -> tuple[object, ...]:
    """Read one array of the metadata: numbers, or strings (undecodable bytes replaced).

    Raises:
        KeyError: ``key`` is not there or not an array of numbers or strings.
        IntegrityError: the array is damaged.
    """
    summary = header.metadata[key]
    if not isinstance(summary, ArraySummary) or summary.element_type is GgufType.ARRAY:
        raise KeyError(key)
    if summary.values is not None:
        return summary.values
    if isinstance(source, Path):
        with open_weights(source) as file:
            return read_array(file, header, key)
    cursor = Cursor(source, key, byte_order=header.byte_order, offset=summary.offset)
    if summary.element_type is GgufType.STRING:
        return tuple(cursor.text() for _ in range(summary.count))
    return _read_scalars(cursor, summary.element_type, summary.count)


def _read_version(cursor: Cursor) -> int:
    head = cursor.peek(64)
    if head[:4] != MAGIC:
        found = impostor(head) or f"not a GGUF file ({beginning(head)})"
        raise IntegrityError(f"{cursor.name} is {found}", hint=REFETCH_HINT)
    cursor.skip(8)
    version = int.from_bytes(head[4:8], "little")
    if version & 0xFFFF == 0:  # the other byte order puts the small number at the other end
        cursor.byte_order = "big"
        version = int.from_bytes(head[4:8], "big")
    supported = {2, 3} if cursor.byte_order == "little" else {3}
    if version not in supported:
        raise IntegrityError(
            f"{cursor.name} is GGUF version {version} ({cursor.byte_order}-endian);"
            " versions 2 and 3 can be read",
            hint="fetch a newer conversion of this model: qtool find MODEL --format gguf",
        )
    return version


def _check_count(cursor: Cursor, count: int, maximum: int, what: str) -> None:
    if count > maximum:
        raise IntegrityError(
            f"{cursor.name} claims {count} {what}; more than {maximum} are not credible",
            hint=REFETCH_HINT,
        )


def _read_metadata(cursor: Cursor, count: int) -> dict[str, GgufValue]:
    metadata: dict[str, GgufValue] = {}
    for _ in range(count):
        key = cursor.name_text("metadata key")
        if key in metadata:
            raise IntegrityError(f"{cursor.name}: metadata key {brief(key)} occurs twice")
        metadata[key] = _read_value(cursor, _value_type(cursor), key)
    return metadata


def _value_type(cursor: Cursor) -> GgufType:
    offset = cursor.offset
    (code,) = cursor.unpack("I")
    try:
        return GgufType(code)
    except ValueError as exc:
        raise IntegrityError(
            f"{cursor.name}: {code} at offset {offset} is not a type of metadata value",
            hint=REFETCH_HINT,
        ) from exc


def _read_value(cursor: Cursor, value_type: GgufType, key: str) -> GgufValue:
    match value_type:
        case GgufType.STRING:
            return cursor.text()
        case GgufType.ARRAY:
            return _read_array_summary(cursor, key, depth=1)
        case _:
            return _read_scalars(cursor, value_type, 1)[0]


def _read_array_summary(cursor: Cursor, key: str, *, depth: int) -> ArraySummary:
    element_type = _value_type(cursor)
    (count,) = cursor.unpack("Q")
    offset = cursor.offset
    values = None
    match element_type:
        case GgufType.STRING:
            cursor.skip_texts(count)
        case GgufType.ARRAY:
            if depth == _MAX_ARRAY_DEPTH:
                raise IntegrityError(f"{cursor.name}: {brief(key)} nests arrays too deeply")
            cursor.charge(count)
            for _ in range(count):
                _read_array_summary(cursor, key, depth=depth + 1)
        case _ if count <= _MAX_INLINE_ELEMENTS and depth == 1:
            values = _read_scalars(cursor, element_type, count)
        case _:
            cursor.skip(count * struct.calcsize("=" + _SCALAR_CODES[element_type]))
    return ArraySummary(element_type, count, offset, values)


def _read_scalars(
    cursor: Cursor, scalar_type: GgufType, count: int
) -> tuple[int | float | bool, ...]:
    offset = cursor.offset
    values = cursor.unpack(f"{count}{_SCALAR_CODES[scalar_type]}")
    if scalar_type is not GgufType.BOOL:
        return values
    if any(value > 1 for value in values):
        raise IntegrityError(f"{cursor.name}: a truth value at offset {offset} is neither 0 nor 1")
    return tuple(value == 1 for value in values)


def _alignment(metadata: Mapping[str, GgufValue], name: str) -> int:
    fields = Fields(metadata, name)
    key = "general.alignment"
    alignment = fields.integer(key, minimum=1, maximum=_MAX_ALIGNMENT)
    if alignment is None:
        return DEFAULT_ALIGNMENT
    if alignment & (alignment - 1):
        fields.reject(key, "a power of two")
    return alignment


def _read_tensor(cursor: Cursor) -> GgufTensor:
    name = cursor.name_text("tensor name")
    (n_dims,) = cursor.unpack("I")
    if n_dims > _MAX_DIMENSIONS:
        raise IntegrityError(f"{cursor.name}: tensor {brief(name)} has {n_dims} dimensions")
    shape: tuple[int, ...] = cursor.unpack(f"{n_dims}Q")
    code, offset = cursor.unpack("IQ")
    try:
        tensor_type = GgmlType(code)
    except ValueError as exc:
        raise IntegrityError(
            f"{cursor.name}: tensor {brief(name)} has the unknown type {code}: a damaged file, or"
            " a quantization newer than this program",
            hint="git pull in the clone of qtool, and install it again: pip install .",
        ) from exc
    n_bytes = _tensor_bytes(shape, tensor_type)
    if n_bytes is None:
        raise IntegrityError(
            f"{cursor.name}: tensor {brief(name)} of type {tensor_type.name} cannot have the"
            f" shape {shape}"
        )
    return GgufTensor(name, shape, tensor_type, offset, n_bytes)


def _tensor_bytes(shape: tuple[int, ...], tensor_type: GgmlType) -> int | None:
    """The size of a tensor; None if its rows are not whole blocks, or it cannot exist."""
    block = BLOCK_LAYOUTS[tensor_type]
    row_elements = shape[0] if shape else 1
    n_elements = prod(shape)
    if row_elements % block.n_elements or n_elements > _MAX_ELEMENTS:
        return None
    return n_elements // block.n_elements * block.n_bytes
