"""What the header of a GGUF file holds, and whether it is consistent in itself."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from math import prod
from typing import Literal

from qtool.errors import IntegrityError
from qtool.models.fields import Fields, brief
from qtool.models.ggml_types import GgmlType
from qtool.models.weight_file import REFETCH_HINT


class GgufType(IntEnum):
    """The type of a metadata value."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


@dataclass(frozen=True, slots=True)
class ArraySummary:
    """An array in the metadata: what it holds and where, in bytes from the start of the file.

    ``values`` are there for numeric arrays of at most 4096 elements; `read_array` reads others.
    """

    element_type: GgufType
    count: int
    offset: int
    values: tuple[int | float | bool, ...] | None = None


GgufValue = int | float | bool | str | ArraySummary


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """An entry of the tensor directory.

    ``shape`` is in ggml's order, the fastest-running dimension first (numpy's reversed).
    ``offset`` counts from the header's ``data_offset``.
    """

    name: str
    shape: tuple[int, ...]
    type: GgmlType
    offset: int
    n_bytes: int

    @property
    def n_elements(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a GGUF file says before its weights begin, at ``data_offset`` bytes."""

    version: int
    byte_order: Literal["little", "big"]
    metadata: Mapping[str, GgufValue]
    tensors: tuple[GgufTensor, ...]
    alignment: int
    data_offset: int
    size_bytes: int

    @property
    def n_params(self) -> int:
        return sum(tensor.n_elements for tensor in self.tensors)

    @property
    def tensor_bytes(self) -> int:
        return sum(tensor.n_bytes for tensor in self.tensors)


def check_layout(header: GgufHeader, name: str) -> None:
    """Check that the tensors are distinct, aligned, without overlap, and within the file."""
    seen: set[str] = set()
    for tensor in header.tensors:
        if tensor.name in seen:
            raise IntegrityError(f"{name}: tensor {brief(tensor.name)} occurs twice")
        seen.add(tensor.name)
        if tensor.offset % header.alignment:
            raise IntegrityError(
                f"{name}: tensor {brief(tensor.name)} at offset {tensor.offset} is not aligned to"
                f" {header.alignment} bytes"
            )
    in_order = sorted(header.tensors, key=lambda tensor: (tensor.offset, tensor.n_bytes))
    for before, after in pairwise(in_order):
        if before.offset + before.n_bytes > after.offset:
            raise IntegrityError(
                f"{name}: tensors {brief(before.name)} and {brief(after.name)} overlap"
            )
    if in_order:
        _check_not_truncated(header, in_order[-1], name)


def _check_not_truncated(header: GgufHeader, last: GgufTensor, name: str) -> None:
    end = header.data_offset + last.offset + last.n_bytes
    if end > header.size_bytes:
        raise IntegrityError(
            f"{name} is truncated: {end - header.size_bytes} of {end} bytes are missing",
            hint=REFETCH_HINT,
        )


def check_parts(parts: Iterable[tuple[str, GgufHeader]]) -> None:
    """Check that the parts of a split model, as (name, header) in order, belong together.

    Raises:
        IntegrityError: a part of another model or position, or a tensor missing or in two parts.
    """
    parts = list(parts)
    names: set[str] = set()
    for index, (name, header) in enumerate(parts):
        fields = Fields(header.metadata, name)
        position = fields.integer("split.no"), fields.integer("split.count")
        if position != (index, len(parts)):
            raise IntegrityError(
                f"{name} should be part {index + 1} of {len(parts)}; its header says otherwise"
                f" (split.no, split.count = {position[0]}, {position[1]})"
            )
        for tensor in header.tensors:
            if tensor.name in names:
                raise IntegrityError(f"{name}: tensor {brief(tensor.name)} is in another part too")
            names.add(tensor.name)
    first_name, first = parts[0]
    expected = Fields(first.metadata, first_name).integer("split.tensors.count")
    if expected is not None and expected != len(names):
        raise IntegrityError(
            f"{first_name}: {expected} tensors were split, its parts hold {len(names)}"
        )
