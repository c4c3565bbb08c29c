"""Rotary position embedding: transformers' parameters as llama.cpp's keys.

Sources: transformers src/transformers/modeling_rope_utils.py, llama.cpp convert_hf_to_gguf.py and
src/llama-model.cpp. transformers 5 writes one object ``rope_parameters``, version 4 ``rope_theta``
and ``rope_scaling``.
"""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qtool.engines.repack.refusal import NotRepackable
from qtool.models.fields import Fields

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_THETA = 10_000.0


@dataclass(frozen=True, slots=True)
class Rope:
    """``metadata`` has keys without the architecture's name; ``factors`` divide the frequencies,
    one for each pair of a head's rotated dimensions."""

    theta: float
    metadata: "Mapping[str, object]" = field(default_factory=dict)
    factors: tuple[float, ...] = ()


def number(fields: Fields, key: str) -> float | None:
    """A finite number."""
    value = fields.data.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        fields.reject(key, "a number")
    return float(value)


def required(fields: Fields, key: str) -> float:
    """A finite number that has to be there."""
    value = number(fields, key)
    if value is None:
        fields.reject(key, "a number")
    return value


def parameters_of(config: Fields, layer_type: str | None = None) -> Fields:
    """Return the object that describes the rotation, of one kind of layers where kinds differ."""
    found = config.section("rope_parameters", "rope_scaling") or Fields({}, config.source)
    if layer_type is not None and isinstance(found.data.get(layer_type), dict):
        found = found.section(layer_type) or found
    return found


def read_rope(config: Fields, n_rotated: int, parameters: Fields | None = None) -> Rope:
    """Return the rotation of ``n_rotated`` dimensions of each head.

    Raises:
        NotRepackable: a way of scaling that llama.cpp does not have.
        IntegrityError: a parameter is missing or no number.
    """
    found = parameters or parameters_of(config)
    theta = number(found, "rope_theta") or number(config, "rope_theta") or DEFAULT_THETA
    kind = found.text("rope_type", "type") or "default"
    match kind:
        case "default":
            return Rope(theta)
        case "linear":
            scaling = {"rope.scaling.type": "linear"}
            return Rope(theta, {**scaling, "rope.scaling.factor": required(found, "factor")})
        case "llama3":
            return Rope(theta, factors=_llama3_factors(found, theta, n_rotated))
        case "yarn":
            return Rope(theta, _yarn(found, config))
        case _:
            raise NotRepackable(f"its position embedding is scaled by {kind!r}")


def _llama3_factors(found: Fields, theta: float, n_rotated: int) -> tuple[float, ...]:
    """Long waves are stretched by ``factor``, short ones not, those between in part."""
    factor, low, high = (
        required(found, key) for key in ("factor", "low_freq_factor", "high_freq_factor")
    )
    context = required(found, "original_max_position_embeddings")
    factors = []
    for index in range(0, n_rotated, 2):
        wavelength = 2 * math.pi * theta ** (index / n_rotated)
        if wavelength < context / high:
            factors.append(1.0)
        elif wavelength > context / low:
            factors.append(factor)
        else:
            smooth = (context / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return tuple(factors)


def _yarn(found: Fields, config: Fields) -> dict[str, object]:
    """llama.cpp knows YaRN with its usual parameters alone."""
    usual = {"beta_fast": 32.0, "beta_slow": 1.0}
    for key, value in usual.items():
        if number(found, key) not in (None, value):
            raise NotRepackable(f"its YaRN has a {key} of {number(found, key):g}")
    for key in ("attention_factor", "mscale", "mscale_all_dim"):
        if found.data.get(key) is not None:
            raise NotRepackable(f"its YaRN has an own {key}")
    original = number(found, "original_max_position_embeddings")
    original = original or required(config, "max_position_embeddings")
    return {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": required(found, "factor"),
        "rope.scaling.original_context_length": int(original),
    }
