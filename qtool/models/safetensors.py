"""Reading the header of a safetensors file, and the index of a sharded checkpoint.

The format: 8 bytes of length, that many bytes of JSON, then the data without gaps.
https://github.com/huggingface/safetensors#format; the checks are those of its reference reader
(``Metadata::validate``), and a few that JSON alone would let through.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, BinaryIO, NoReturn

from qtool.errors import IntegrityError
from qtool.models.fields import Fields, brief
from qtool.models.json_file import parse_json_object, read_json_fields
from qtool.models.weight_file import REFETCH_HINT, beginning, impostor, open_weights

# MAX_HEADER_SIZE of the reference reader.
MAX_HEADER_BYTES = 100_000_000
# An index names every tensor of a checkpoint; the largest known has 15 MB.
MAX_INDEX_BYTES = MAX_HEADER_BYTES
_MAX_UINT64 = 2**64 - 1

# Dtype in safetensors/src/tensor.rs.
DTYPE_BITS = MappingProxyType(
    {
        "BOOL": 8,
        "F4": 4,
        "F6_E2M3": 6,
        "F6_E3M2": 6,
        "U8": 8,
        "I8": 8,
        "F8_E5M2": 8,
        "F8_E4M3": 8,
        "F8_E8M0": 8,
        "F8_E4M3FNUZ": 8,
        "F8_E5M2FNUZ": 8,
        "I16": 16,
        "U16": 16,
        "F16": 16,
        "BF16": 16,
        "I32": 32,
        "U32": 32,
        "F32": 32,
        "C64": 64,
        "F64": 64,
        "I64": 64,
        "U64": 64,
    }
)


@dataclass(frozen=True, slots=True)
class SafetensorsTensor:
    """An entry of the header. ``offset`` counts from the header's ``data_offset``."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    n_bytes: int
    n_elements: int


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """What a safetensors file says before its data begin, at ``data_offset`` bytes.

    ``tensors`` are in the order of their data.
    """

    metadata: Mapping[str, str]
    tensors: tuple[SafetensorsTensor, ...]
    data_offset: int
    size_bytes: int

    @property
    def tensor_bytes(self) -> int:
        return sum(tensor.n_bytes for tensor in self.tensors)


@dataclass(frozen=True, slots=True)
class SafetensorsIndex:
    """``model.safetensors.index.json``: which file holds which tensor."""

    weight_map: Mapping[str, str]
    total_size_bytes: int | None

    @property
    def shards(self) -> tuple[str, ...]:
        """The files of the checkpoint, sorted."""
        return tuple(sorted(set(self.weight_map.values())))


def read_safetensors_header(
    source: Path | BinaryIO, *, name: str | None = None
) -> SafetensorsHeader:
    """Read the header of a safetensors file, given as a path or a seekable binary file.

    Raises:
        NotFoundError: there is no such file.
        IntegrityError: not such a file, damaged, or of another size than its header says; if
            shorter, the message says how many bytes are missing.
    """
    if isinstance(source, Path):
        with open_weights(source) as file:
            return read_safetensors_header(file, name=name or str(source))
    name = name or "safetensors file"
    size = source.seek(0, 2)
    source.seek(0)
    head = source.read(64)
    length = int.from_bytes(head[:8], "little")
    if len(head) < 8 or length > MAX_HEADER_BYTES or impostor(head):
        found = impostor(head) or f"not a safetensors file ({beginning(head)})"
        raise IntegrityError(f"{name} is {found}", hint=REFETCH_HINT)
    if length > size - 8:
        raise IntegrityError(
            f"{name} is truncated: {8 + length - size} bytes of its header are missing",
            hint=REFETCH_HINT,
        )
    source.seek(8)
    raw = parse_json_object(source.read(length), source=name, is_strict=True)
    return _check_size(parse_header(raw, name=name), 8 + length, size, name)


def parse_header(raw: Mapping[str, Any], *, name: str) -> SafetensorsHeader:
    """Check the JSON of a header. Pure; the sizes in the result are those the header implies.

    Raises:
        IntegrityError: naming the tensor that is described wrongly.
    """
    metadata = _parse_metadata(raw.get("__metadata__"), name)
    tensors = [
        _parse_tensor(tensor, entry, name)
        for tensor, entry in raw.items()
        if tensor != "__metadata__"
    ]
    tensors.sort(key=lambda tensor: (tensor.offset, tensor.n_bytes))
    end = 0
    for tensor in tensors:
        if tensor.offset != end:
            raise IntegrityError(
                f"{name}: tensor {brief(tensor.name)} begins at byte {tensor.offset} of the data,"
                f" but byte {end} is the next that is free"
            )
        end += tensor.n_bytes
    return SafetensorsHeader(metadata, tuple(tensors), 0, end)


def _check_size(
    header: SafetensorsHeader, data_offset: int, size: int, name: str
) -> SafetensorsHeader:
    expected = data_offset + header.size_bytes
    if size < expected:
        raise IntegrityError(
            f"{name} is truncated: {expected - size} of {expected} bytes are missing",
            hint=REFETCH_HINT,
        )
    if size > expected:
        raise IntegrityError(
            f"{name} has {size - expected} bytes more than its header accounts for",
            hint=REFETCH_HINT,
        )
    return SafetensorsHeader(header.metadata, header.tensors, data_offset, size)


def _parse_metadata(raw: object, name: str) -> dict[str, str]:
    if raw is None:
        return {}
    if not isinstance(raw, dict) or not all(isinstance(value, str) for value in raw.values()):
        raise IntegrityError(f"{name}: '__metadata__' should map strings to strings")
    return raw


def _parse_tensor(tensor: str, entry: object, name: str) -> SafetensorsTensor:
    if not isinstance(entry, dict):
        _reject(name, tensor, f"is described by {brief(entry)}, not by an object")
    dtype = entry.get("dtype")
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        _reject(name, tensor, f"has the unknown dtype {brief(dtype)}")
    shape, span = _sizes(entry.get("shape")), _sizes(entry.get("data_offsets"))
    if shape is None:
        _reject(name, tensor, "has an invalid shape")
    if span is None or len(span) != 2 or span[0] > span[1]:
        _reject(name, tensor, "has invalid data_offsets")
    n_elements = 1
    for dimension in shape:
        n_elements *= dimension
        if n_elements > _MAX_UINT64:
            _reject(name, tensor, "is larger than any memory")
    n_bits = n_elements * DTYPE_BITS[dtype]
    n_bytes = span[1] - span[0]
    if n_bits != 8 * n_bytes:
        _reject(name, tensor, f"has {n_bytes} bytes, but its shape and dtype make {n_bits} bits")
    return SafetensorsTensor(tensor, dtype, shape, span[0], n_bytes, n_elements)


def _sizes(values: object) -> tuple[int, ...] | None:
    """A list of integers (true and 1.0 are not) that fit into 64 bits; None for all else."""
    if not isinstance(values, list):
        return None
    if not all(type(value) is int and 0 <= value <= _MAX_UINT64 for value in values):
        return None
    return tuple(values)


def _reject(name: str, tensor: str, reason: str) -> NoReturn:
    raise IntegrityError(f"{name}: tensor {brief(tensor)} {reason}", hint=REFETCH_HINT)


def read_safetensors_index(path: Path) -> SafetensorsIndex:
    """Read ``model.safetensors.index.json``.

    Raises:
        IntegrityError: damaged, or with a shard name that leads out of its folder.
    """
    return parse_index(read_json_fields(path, limit_bytes=MAX_INDEX_BYTES))


def parse_index(fields: Fields) -> SafetensorsIndex:
    """Check the JSON of an index. Pure."""
    weight_map = fields.section("weight_map")
    if weight_map is None:
        raise IntegrityError(f"{fields.source}: there is no 'weight_map'")
    for tensor, shard in weight_map.data.items():
        if not isinstance(shard, str):
            weight_map.reject(tensor, "the name of a file")
    for shard in set(weight_map.data.values()):
        if not _is_inside(shard):
            raise IntegrityError(
                f"{fields.source}: the shard {brief(shard)} would be outside of the model's folder"
            )
    metadata = fields.section("metadata")
    total_size = metadata.integer("total_size", maximum=_MAX_UINT64) if metadata else None
    return SafetensorsIndex(weight_map.data, total_size)


def _is_inside(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    is_plain = bool(parts) and "\0" not in name and ":" not in name
    return is_plain and ".." not in parts and parts[0] != "/"
