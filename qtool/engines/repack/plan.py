"""A GGUF that is only to be written: decided, and checked, before the first byte of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtool.engines.repack.architectures import (
    describe,
    find_architecture,
    is_tied,
    read_shape,
)
from qtool.engines.repack.matrices import Matrices
from qtool.engines.repack.measures import require_measures
from qtool.engines.repack.output_tensors import OutputTensor, Source, constant, plan_tensors
from qtool.engines.repack.refusal import NotRepackable
from qtool.engines.repack.tensors import Checkpoint
from qtool.engines.repack.tokenizer import read_tokenizer
from qtool.models.formats import require_complete
from qtool.models.ggml_types import GgmlType
from qtool.models.info import ModelInfo, Quantization
from qtool.models.json_file import read_json_fields
from qtool.models.repackable import find_layout, find_obstacle

if TYPE_CHECKING:
    from pathlib import Path

FILE_TYPES: Mapping[GgmlType, int] = {GgmlType.Q4_0: 2, GgmlType.Q4_1: 3, GgmlType.Q8_0: 7}
"""``llama_ftype`` of include/llama.h by the type of most weights."""


@dataclass(frozen=True, slots=True)
class RepackPlan:
    """The keys of a GGUF with their values, and its tensors in the order of the file."""

    architecture: str
    metadata: Mapping[str, object]
    tensors: tuple[OutputTensor, ...]

    @property
    def n_bytes(self) -> int:
        """The bytes of all tensors."""
        return sum(tensor.n_bytes for tensor in self.tensors)


def folder_of(info: ModelInfo) -> "Path":
    """Return the folder with the configuration of ``info``."""
    return info.path if info.path.is_dir() else info.path.parent


def plan_repack(info: ModelInfo, *, is_embedding_q8: bool = False) -> RepackPlan:
    """Look through the checkpoint ``info`` and plan its GGUF.

    Reads the configuration, scales and zero points, which decide what fits; codes are read when
    they are written. ``is_embedding_q8`` rounds the embedding and the head to Q8_0.

    Raises:
        NotRepackable: llama.cpp has no exact form of something in it.
        IntegrityError: something is missing, damaged, or of a wrong shape.
    """
    require_complete(info)
    layout, architecture = find_layout(info), find_architecture(info.architecture)
    if layout is None:
        raise NotRepackable(find_obstacle(info) or "its layout is not known", info.path)
    folder = folder_of(info)
    config = read_json_fields(folder / "config.json")
    metadata, rope = describe(config, architecture)
    checkpoint = Checkpoint(info.files)
    matrices = Matrices(checkpoint, layout, info.quantization or Quantization("", ""))
    shape = read_shape(config)
    require_measures(config, shape, checkpoint, matrices)
    source = Source(checkpoint, matrices, architecture, shape)
    tensors = plan_tensors(
        source, is_tied=is_tied(config, architecture), is_embedding_q8=is_embedding_q8
    )
    tensors += [constant(name, values) for name, values in rope.factors.items()]
    n_rows = next(t.shape[0] for t in tensors if t.name == "token_embd.weight")
    own = {f"{architecture.name}.{key}": value for key, value in metadata.items()}
    keys = {
        "general.quantization_version": 2,
        "general.file_type": _file_type(tensors),
        **own,
        f"{architecture.name}.vocab_size": n_rows,
        **read_tokenizer(folder, n_rows),
    }
    return RepackPlan(architecture.name, keys, tuple(tensors))


def _file_type(tensors: list[OutputTensor]) -> int:
    sizes = dict.fromkeys(FILE_TYPES, 0)
    for tensor in tensors:
        if tensor.type in sizes:
            sizes[tensor.type] += tensor.n_bytes
    return FILE_TYPES[max(sizes, key=sizes.__getitem__)]
