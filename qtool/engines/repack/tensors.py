"""The tensors of a checkpoint, read one by one.

They are read, not mapped: pages of a map count as memory of this process until the system wants
them back, and a disk that fails behind a map ends the process instead of raising an exception.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qtool.errors import IntegrityError
from qtool.models.safetensors import SafetensorsTensor, read_safetensors_header
from qtool.models.weight_file import REFETCH_HINT, open_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

CHUNK_BYTES = 32 * 2**20

_DTYPES: "Mapping[str, np.dtype[Any]]" = {
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "F32": np.dtype("<f4"),
    "I16": np.dtype("<u2"),
    "I32": np.dtype("<u4"),
    "U32": np.dtype("<u4"),
    "I64": np.dtype("<i8"),
}
"""How each type is read; BF16, which numpy lacks, as its bits (see ``widen``)."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor and where its bytes begin in which file."""

    file: Path
    offset: int
    entry: SafetensorsTensor

    @property
    def shape(self) -> tuple[int, ...]:
        return self.entry.shape

    @property
    def dtype(self) -> str:
        return self.entry.dtype

    @property
    def n_bytes(self) -> int:
        return self.entry.n_bytes


class Checkpoint:
    """The tensors of all shards by name."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Read the headers of ``files``.

        Raises:
            IntegrityError: a file is damaged, or two hold a tensor of the same name.
        """
        self.tensors: dict[str, StoredTensor] = {}
        for file in files:
            header = read_safetensors_header(file)
            for entry in header.tensors:
                if entry.name in self.tensors:
                    raise IntegrityError(f"{file}: {entry.name} is in another shard as well")
                place = header.data_offset + entry.offset
                self.tensors[entry.name] = StoredTensor(file, place, entry)

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def read(self, name: str) -> "Array":
        """Return a tensor whole; floats of 16 and 32 bits as they are, BF16 as float32.

        Raises:
            IntegrityError: there is none of that name, or its type is not one of a checkpoint.
        """
        tensor = self.find(name)
        return self._read(tensor, 0, tensor.n_bytes).reshape(tensor.shape)

    def find(self, name: str) -> StoredTensor:
        """Return where a tensor lies. Raises IntegrityError without it."""
        try:
            return self.tensors[name]
        except KeyError:
            raise IntegrityError(
                f"the checkpoint has no tensor {name}", hint=REFETCH_HINT
            ) from None

    def chunks(self, name: str) -> "Iterator[Array]":
        """Yield a tensor's elements in order, flat, a few megabytes at a time."""
        tensor = self.find(name)
        for start in range(0, tensor.n_bytes, CHUNK_BYTES):
            yield self._read(tensor, start, min(CHUNK_BYTES, tensor.n_bytes - start))

    def _read(self, tensor: StoredTensor, start: int, n_bytes: int) -> "Array":
        dtype = _DTYPES.get(tensor.dtype)
        if dtype is None:
            raise IntegrityError(f"{tensor.entry.name} is of type {tensor.dtype}")
        with open_weights(tensor.file) as file:
            file.seek(tensor.offset + start)
            array = np.fromfile(file, dtype, n_bytes // dtype.itemsize)
        if array.nbytes != n_bytes:
            raise IntegrityError(f"{tensor.file} became shorter while it was read")
        return widen(array) if tensor.dtype == "BF16" else array


def widen(bits: "Array") -> "NDArray[np.float32]":
    """Return bfloat16 numbers, given as their bits, as float32: the same bits and 16 zeros."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)
