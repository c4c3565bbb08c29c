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
MAX_FLOAT32, MAX_UINT32 = 3.4e38, 2**32 - 1
"""The largest numbers of the types that a GGUF's keys have here."""


@dataclass(frozen=True, slots=True)
class Rope:
    """``metadata`` has keys without the architecture's name; ``factors`` are tensors of numbers
    that divide the frequencies, one for each pair of a head's rotated dimensions."""

    theta: float
    metadata: "Mapping[str, object]" = field(default_factory=dict)
    factors: "Mapping[str, tuple[float, ...]]" = field(default_factory=dict)


def number(fields: Fields, key: str) -> float | None:
    """A number that is finite in 32 bits, as llama.cpp holds it."""
    value = fields.data.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        fields.reject(key, "a number")
    if not -MAX_FLOAT32 <= value <= MAX_FLOAT32:
        fields.reject(key, "a number of 32 bits")
    return float(value)


def positive(fields: Fields, key: str) -> float | None:
    """A number above 0."""
    value = number(fields, key)
    if value is not None and value <= 0:
        fields.reject(key, "above 0")
    return value


def required(fields: Fields, key: str) -> float:
    """A number above 0 that has to be there."""
    value = positive(fields, key)
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
    theta = positive(found, "rope_theta") or positive(config, "rope_theta") or DEFAULT_THETA
    kind = found.text("rope_type", "type") or "default"
    match kind:
        case "default":
            return Rope(theta)
        case "linear":
            scaling = {"rope.scaling.type": "linear"}
            return Rope(theta, {**scaling, "rope.scaling.factor": required(found, "factor")})
        case "llama3":
            factors = _llama3_factors(found, theta, n_rotated)
            return Rope(theta, factors={"rope_freqs.weight": factors})
        case "yarn":
            return Rope(theta, _yarn(found, config))
        case "longrope" | "su":
            return _longrope(found, config, theta, n_rotated)
        case _:
            raise NotRepackable(f"its position embedding is scaled by {kind!r}")


def _llama3_factors(found: Fields, theta: float, n_rotated: int) -> tuple[float, ...]:
    """Long waves are stretched by ``factor``, short ones not, those between in part."""
    factor, low, high = (
        required(found, key) for key in ("factor", "low_freq_factor", "high_freq_factor")
    )
    if low >= high:
        found.reject("low_freq_factor", f"below high_freq_factor ({high:g})")
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
    original = found.integer("original_max_position_embeddings", maximum=MAX_UINT32)
    original = original or config.integer("max_position_embeddings", maximum=MAX_UINT32)
    if not original:
        found.reject("original_max_position_embeddings", "a whole number")
    return {
        "rope.scaling.type": "yarn",
        "rope.scaling.factor": required(found, "factor"),
        "rope.scaling.original_context_length": original,
    }


def _longrope(found: Fields, config: Fields, theta: float, n_rotated: int) -> Rope:
    """Phi 3: short factors up to the context of its first training, long ones beyond.

    transformers changes over when a conversation becomes longer, llama.cpp decides by the context
    it is given; both agree as long as that is not exceeded, so it is the context that is stated.
    """
    original = config.integer("original_max_position_embeddings", minimum=2, maximum=MAX_UINT32)
    original = original or found.integer(
        "original_max_position_embeddings", minimum=2, maximum=MAX_UINT32
    )
    if original is None:
        found.reject("original_max_position_embeddings", "a whole number")
    scale = required(config, "max_position_embeddings") / original
    factor = number(found, "attention_factor")
    if factor is None:
        factor = math.sqrt(1 + math.log(scale) / math.log(original)) if scale > 1 else 1.0
    return Rope(
        theta,
        {
            "context_length": original,
            "rope.scaling.type": "longrope",
            "rope.scaling.original_context_length": original,
            "rope.scaling.attn_factor": factor,
        },
        {
            f"rope_factors_{kind}.weight": _factors(found, f"{kind}_factor", n_rotated // 2)
            for kind in ("long", "short")
        },
    )


def _factors(found: Fields, key: str, count: int) -> tuple[float, ...]:
    values = found.data.get(key)
    if not isinstance(values, list) or len(values) != count:
        found.reject(key, f"a list of {count} numbers")
    numbers = (required(Fields({key: value}, found.source), key) for value in values)
    return tuple(numbers)
