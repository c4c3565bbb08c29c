"""What becomes of every tensor of a checkpoint."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from qtool.engines.repack.architectures import Architecture, Shape
from qtool.engines.repack.blocks import NotRepresentable, to_blocks
from qtool.engines.repack.matrices import Matrices
from qtool.engines.repack.refusal import NotRepackable
from qtool.engines.repack.tensors import Checkpoint
from qtool.errors import IntegrityError
from qtool.models.ggml_types import BLOCK_LAYOUTS, GgmlType
from qtool.models.repackable import BLOCK
from qtool.models.weight_file import REFETCH_HINT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Name = Callable[[str], str | None]

_EMBEDDING, _HEAD = "model.embed_tokens", "lm_head"
_LEFT_OUT = (".rotary_emb.inv_freq", ".masked_bias")
"""Buffers that old versions of transformers saved; the configuration says the same."""
_FLOATS = {"F16": GgmlType.F16, "BF16": GgmlType.BF16, "F32": GgmlType.F32}


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """A tensor of the GGUF: ``shape`` as numpy has it (outputs, inputs), its bytes in pieces."""

    name: str
    type: GgmlType
    shape: tuple[int, ...]
    pieces: "Callable[[], Iterator[Array]]"

    @property
    def n_bytes(self) -> int:
        """How many bytes its pieces have together."""
        layout = BLOCK_LAYOUTS[self.type]
        return math.prod(self.shape) // layout.n_elements * layout.n_bytes


@dataclass(frozen=True, slots=True)
class Source:
    """A checkpoint, and what is known of its model."""

    checkpoint: Checkpoint
    matrices: Matrices
    architecture: Architecture
    shape: Shape


def plan_tensors(source: Source, *, is_tied: bool, is_embedding_q8: bool) -> list[OutputTensor]:
    """Plan all tensors of ``source``, in the order of its files.

    Raises:
        NotRepackable, IntegrityError: see ``plan_repack``.
    """
    name_of = _names(source)
    planned = []
    for stored in source.checkpoint.tensors:
        module, _, part = stored.rpartition(".")
        if stored.endswith(_LEFT_OUT) or (is_tied and module == _HEAD):
            continue
        if source.matrices.owns(stored):
            if part == "qweight":
                planned.append(_matrix(source, module, _found(name_of, f"{module}.weight")))
        elif part == "bias":
            if tensor := _bias(source, stored, name_of):
                planned.append(tensor)
        else:
            is_rounded = is_embedding_q8 and module in (_EMBEDDING, _HEAD)
            planned.append(_floats(source, stored, _found(name_of, stored), is_rounded))
    _check_complete(planned, source.shape.n_layers, is_tied=is_tied)
    return planned


def constant(name: str, values: Sequence[float]) -> OutputTensor:
    """Return a tensor of numbers that stand in no checkpoint."""
    array = np.array(values, "<f4")
    return OutputTensor(name, GgmlType.F32, array.shape, lambda: iter([array]))


def row_order(source: Source, module: str) -> "Array | None":
    """Return which row of ``module`` comes where; None leaves them.

    transformers rotates dimension i of a head together with i + half, llama.cpp together with its
    neighbour, so that rows 0, half, 1, half + 1, … of each head have to follow one another.
    """
    kind = module.rpartition(".")[2]
    if not source.architecture.is_permuted or kind not in ("q_proj", "k_proj"):
        return None
    shape = source.shape
    n_heads = shape.n_heads if kind == "q_proj" else shape.n_kv_heads
    rows = np.arange(n_heads * shape.head_dim).reshape(n_heads, 2, shape.head_dim // 2)
    return rows.swapaxes(1, 2).reshape(-1)


def _matrix(source: Source, module: str, name: str) -> OutputTensor:
    kind, shape = source.matrices.type_of(module), source.matrices.shape_of(module)
    order = row_order(source, module)
    _check_rows(module, shape[0], order)

    def pieces() -> "Iterator[Array]":
        try:
            blocks = to_blocks(source.matrices.read(module), kind)
        except NotRepresentable as exc:
            raise NotRepackable(f"{module}: {exc}") from exc
        yield blocks if order is None else blocks[order]

    return OutputTensor(name, kind, shape, pieces)


def _bias(source: Source, stored: str, name_of: "Name") -> OutputTensor | None:
    """AutoGPTQ used to give every module a bias, of zeros: left out where the model has none."""
    kind = stored.split(".")[-2]
    if kind in source.architecture.biased:
        return _floats(source, stored, _found(name_of, stored), is_rounded=False)
    if source.checkpoint.read(stored).any():
        raise NotRepackable(f"llama.cpp reads no {stored}")
    return None


def _floats(source: Source, stored: str, name: str, is_rounded: bool) -> OutputTensor:
    """Plan what is not quantised: vectors as F32, matrices in the smallest type that is exact."""
    checkpoint, shape = source.checkpoint, source.checkpoint.find(stored).shape
    if checkpoint.find(stored).dtype not in _FLOATS:
        raise NotRepackable(f"{stored} is of type {checkpoint.find(stored).dtype}")
    order = row_order(source, stored.rpartition(".")[0])
    _check_rows(stored, shape[0] if shape else 0, order)
    kind = GgmlType.F32 if len(shape) == 1 else _exact_type(checkpoint, stored)
    if is_rounded and len(shape) == 2 and shape[1] % BLOCK == 0:
        kind = GgmlType.Q8_0
    offset = source.architecture.norm_offset if name.endswith("norm.weight") else 0.0
    return OutputTensor(
        name, kind, shape, partial(_pieces, checkpoint, stored, kind, order, offset)
    )


def _pieces(
    checkpoint: Checkpoint, stored: str, kind: GgmlType, order: "Array | None", offset: float
) -> "Iterator[Array]":
    if order is not None:
        yield _converted(checkpoint.read(stored)[order], kind)
        return
    for chunk in checkpoint.chunks(stored):
        yield _converted(chunk + np.float32(offset) if offset else chunk, kind)


def _converted(values: "Array", kind: GgmlType) -> "Array":
    match kind:
        case GgmlType.F32:
            return values.astype("<f4", copy=False)
        case GgmlType.BF16:  # it was BF16 before it was widened
            return (values.view(np.uint32) >> np.uint32(16)).astype("<u2")
        case GgmlType.Q8_0:
            import gguf

            rows = values.reshape(-1, BLOCK).astype(np.float32, copy=False)
            return gguf.quantize(rows, gguf.GGMLQuantizationType.Q8_0)
        case _:
            return values.astype("<f2", copy=False)


def _exact_type(checkpoint: Checkpoint, stored: str) -> GgmlType:
    """Return F16 if it holds every number exactly, else the type they have."""
    own = _FLOATS[checkpoint.find(stored).dtype]
    if own is GgmlType.F16:
        return own
    for chunk in checkpoint.chunks(stored):
        with np.errstate(over="ignore", under="ignore"):
            halves = chunk.astype(np.float16)
        if not np.array_equal(halves, chunk):
            return own
    return GgmlType.F16


def _check_rows(name: str, n_rows: int, order: "Array | None") -> None:
    if order is not None and len(order) != n_rows:
        raise IntegrityError(f"{name} has {n_rows} rows; its heads need {len(order)}")


def _names(source: Source) -> "Name":
    import gguf

    by_name = {name: key for key, name in gguf.MODEL_ARCH_NAMES.items()}
    table = gguf.get_tensor_name_map(by_name[source.architecture.name], source.shape.n_layers)
    return lambda stored: table.get_name(stored, try_suffixes=(".weight", ".bias"))


def _found(name_of: "Name", stored: str) -> str:
    name = name_of(stored)
    if name is None:
        raise NotRepackable(f"llama.cpp knows no tensor like {stored}")
    return name


def _check_complete(tensors: Sequence[OutputTensor], n_layers: int, *, is_tied: bool) -> None:
    """llama.cpp's own words for a missing tensor come only after everything was written."""
    names = {tensor.name for tensor in tensors}
    if len(names) != len(tensors):
        raise IntegrityError("two tensors of the checkpoint have the same meaning")
    layered = {name.split(".", 2)[2] for name in names if name.startswith("blk.")}
    expected = {f"blk.{layer}.{part}" for layer in range(n_layers) for part in layered}
    expected |= {"token_embd.weight", "output_norm.weight"}
    expected |= set() if is_tied else {"output.weight"}
    if missing := sorted(expected - names):
        raise IntegrityError(
            f"the checkpoint lacks {len(missing)} tensors, such as that for {missing[0]}",
            hint=REFETCH_HINT,
        )
