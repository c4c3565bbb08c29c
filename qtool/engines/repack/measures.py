"""Whether the tensors of a checkpoint have the measures that its config.json states.

Checked before anything is laid out by these measures: a wrong one is named, and costs no memory.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from qtool.errors import IntegrityError

if TYPE_CHECKING:
    from qtool.engines.repack.architectures import Shape
    from qtool.engines.repack.matrices import Matrices
    from qtool.engines.repack.tensors import Checkpoint
    from qtool.models.fields import Fields

_LAYER = re.compile(r"model\.layers\.(\d{1,9})\.")
_HEADS, _KV_HEADS = "num_attention_heads", "num_key_value_heads"
_WIDTH, _FEED_FORWARD = "hidden_size", "intermediate_size"

Side = tuple[str, int]
"""The fields of config.json that a side of a matrix follows from, and its length by them."""


def require_measures(
    config: "Fields", shape: "Shape", checkpoint: "Checkpoint", matrices: "Matrices"
) -> None:
    """Compare the number of layers and the sides of every matrix with ``shape``.

    Raises:
        IntegrityError: they contradict one another; the message names the field.
    """
    if shape.head_dim % 2 or not shape.head_dim:
        raise IntegrityError(
            f"{config.source}: 'head_dim' (or hidden_size / num_attention_heads) should be even,"
            f" not {shape.head_dim}"
        )
    if shape.n_heads % shape.n_kv_heads:
        config.reject("num_key_value_heads", f"a divisor of {shape.n_heads} heads")
    _require_layers(config, shape.n_layers, checkpoint)
    is_derived = config.data.get("head_dim") is None
    expected = _sides(shape, "(hidden_size / num_attention_heads)" if is_derived else "head_dim")
    for stored in checkpoint.tensors:
        module, _, part = stored.rpartition(".")
        sides = expected.get(module.rpartition(".")[2])
        if sides is None or part not in ("weight", "qweight"):
            continue
        is_packed = part == "qweight"
        found = matrices.shape_of(module) if is_packed else checkpoint.find(stored).shape
        _compare(config, module, found, sides)


def _require_layers(config: "Fields", n_layers: int, checkpoint: "Checkpoint") -> None:
    found = (_LAYER.match(name) for name in checkpoint.tensors)
    n_found = max((int(match[1]) + 1 for match in found if match), default=0)
    if n_layers < n_found or n_layers > len(checkpoint.tensors):
        config.reject("num_hidden_layers", f"{n_found}, as many as the checkpoint has")


def _sides(shape: "Shape", head_dim: str) -> Mapping[str, tuple[Side | None, Side]]:
    """Return what outputs and inputs of each kind of matrix should be; None is not known.

    ``head_dim`` are the fields that a head's width follows from.
    """
    width, heads = (_WIDTH, shape.width), (f"{_HEADS} x {head_dim}", shape.n_heads * shape.head_dim)
    kv_heads = (f"{_KV_HEADS} x {head_dim}", shape.n_kv_heads * shape.head_dim)
    all_heads = (f"({_HEADS} + 2 x {_KV_HEADS}) x {head_dim}", heads[1] + 2 * kv_heads[1])
    between = (_FEED_FORWARD, shape.feed_forward_width)
    return {
        "q_proj": (heads, width),
        "k_proj": (kv_heads, width),
        "v_proj": (kv_heads, width),
        "qkv_proj": (all_heads, width),
        "o_proj": (width, heads),
        "gate_proj": (between, width),
        "up_proj": (between, width),
        "gate_up_proj": ((f"2 x {_FEED_FORWARD}", 2 * between[1]), width),
        "down_proj": (width, between),
        "embed_tokens": (None, width),
        "lm_head": (None, width),
    }


def _compare(
    config: "Fields", module: str, found: tuple[int, ...], sides: tuple[Side | None, Side]
) -> None:
    if len(found) != 2:
        raise IntegrityError(f"{module} should be a matrix, not of the shape {found}")
    for side, length, name in zip(sides, found, ("rows", "columns"), strict=True):
        if side is not None and side[1] != length:
            raise IntegrityError(
                f"{config.source}: {side[0]} is {side[1]}, but {module} has {length} {name}"
            )
