"""Which architectures can be repacked, and what llama.cpp has to know of each.

Sources: llama.cpp convert_hf_to_gguf.py (keys, permutation, offsets) and src/models/ (what it
computes); transformers src/transformers/models/*/modeling_*.py. Names of tensors come from the
gguf package.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from qtool.engines.repack.refusal import NotRepackable
from qtool.engines.repack.rope import (
    DEFAULT_THETA,
    MAX_UINT32,
    Rope,
    number,
    parameters_of,
    positive,
    read_rope,
    required,
)
from qtool.models.fields import Fields

Metadata = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Shape:
    """The measures of a model that every architecture has."""

    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    width: int
    feed_forward_width: int


@dataclass(frozen=True, slots=True)
class Architecture:
    """An architecture by its name in llama.cpp.

    ``is_permuted``: rows of the query and key projections change places, because llama.cpp
    rotates neighbours where transformers rotates the two halves of a head. ``norm_offset`` is
    added to the weights of norms. ``biased`` names the modules whose bias llama.cpp reads.
    ``specifics`` adds what is its own and refuses what llama.cpp does not compute.
    """

    name: str
    activations: tuple[str, ...] = ("silu",)
    is_permuted: bool = False
    norm_offset: float = 0.0
    biased: tuple[str, ...] = ()
    is_tied_by_default: bool = False
    specifics: Callable[[Fields, Shape], Metadata] = field(default=lambda config, shape: {})


def _window_as_context(config: Fields, shape: Shape) -> Metadata:
    """llama.cpp attends to everything here: no more context than the window, and both agree."""
    window = config.integer("sliding_window", maximum=MAX_UINT32)
    is_used = config.boolean("use_sliding_window")
    if is_used is None:
        is_used = not (config.text("model_type") or "").startswith("qwen")  # theirs is off
    if not window or not is_used:
        return {}
    return {"context_length": min(window, config.integer("max_position_embeddings") or window)}


def _gemma2(config: Fields, shape: Shape) -> Metadata:
    _require_usual_scale(config, shape)
    _require_pattern(config, shape, period=2)
    return {
        "attn_logit_softcapping": number(config, "attn_logit_softcapping") or 50.0,
        "final_logit_softcapping": number(config, "final_logit_softcapping") or 30.0,
        "attention.sliding_window": config.integer("sliding_window", maximum=MAX_UINT32) or 4096,
    }


def _gemma3(config: Fields, shape: Shape) -> Metadata:
    _require_usual_scale(config, shape)
    _require_pattern(config, shape, period=6)
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        if number(config, key) is not None:
            raise NotRepackable(f"a Gemma 3 with {key}")
    local = number(config, "rope_local_base_freq")
    local = local or number(parameters_of(config, "sliding_attention"), "rope_theta")
    return {
        "attention.sliding_window": config.integer("sliding_window", maximum=MAX_UINT32) or 4096,
        "rope.freq_base_swa": local or DEFAULT_THETA,
    }


def _require_usual_scale(config: Fields, shape: Shape) -> None:
    """llama.cpp divides queries by the root of the head's width (but in the 27B models)."""
    scale = number(config, "query_pre_attn_scalar")
    if scale is None:
        scale = 256.0
    is_27b = shape.n_layers in (46, 62) and scale == shape.width / shape.n_heads
    if scale != shape.head_dim and not is_27b:
        raise NotRepackable(f"its query_pre_attn_scalar is {scale:g}, not {shape.head_dim}")


def _require_pattern(config: Fields, shape: Shape, *, period: int) -> None:
    kinds = config.texts("layer_types")
    given = config.integer("sliding_window_pattern", "_sliding_window_pattern") or period
    usual = tuple(
        "sliding_attention" if (index + 1) % period else "full_attention"
        for index in range(shape.n_layers)
    )
    if (kinds is not None and kinds != usual) or given != period:
        raise NotRepackable("its layers slide in a pattern of their own")


_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_LLAMA = Architecture("llama", is_permuted=True, biased=_LINEAR, specifics=_window_as_context)
_GELU = ("gelu_pytorch_tanh", "gelu_new", "gelu_fast")

ARCHITECTURES: Mapping[str, Architecture] = {
    "LlamaForCausalLM": _LLAMA,
    "MistralForCausalLM": _LLAMA,
    "Qwen2ForCausalLM": Architecture(
        "qwen2", biased=("q_proj", "k_proj", "v_proj"), specifics=_window_as_context
    ),
    "Qwen3ForCausalLM": Architecture("qwen3", specifics=_window_as_context),
    "Phi3ForCausalLM": Architecture("phi3", specifics=_window_as_context),
    "Gemma2ForCausalLM": Architecture(
        "gemma2", _GELU, norm_offset=1.0, is_tied_by_default=True, specifics=_gemma2
    ),
    "Gemma3ForCausalLM": Architecture(
        "gemma3", _GELU, norm_offset=1.0, is_tied_by_default=True, specifics=_gemma3
    ),
}


def find_architecture(class_name: str | None) -> Architecture:
    """Return the architecture of a class of transformers. Raises NotRepackable."""
    found = ARCHITECTURES.get(class_name or "")
    if found is not None:
        return found
    known = ", ".join(name.removesuffix("ForCausalLM") for name in ARCHITECTURES)
    raise NotRepackable(f"its architecture is {class_name or 'not known'}; repacked are {known}")


def read_shape(config: Fields) -> Shape:
    """Read the measures. Raises IntegrityError where one is missing."""

    def count(key: str) -> int:
        value = config.integer(key, minimum=1, maximum=MAX_UINT32)
        if value is None:
            config.reject(key, "a whole number")
        return value

    n_heads, width = count("num_attention_heads"), count("hidden_size")
    return Shape(
        n_layers=count("num_hidden_layers"),
        n_heads=n_heads,
        n_kv_heads=config.integer("num_key_value_heads", minimum=1) or n_heads,
        head_dim=config.integer("head_dim", minimum=1) or width // n_heads,
        width=width,
        feed_forward_width=count("intermediate_size"),
    )


def is_tied(config: Fields, architecture: Architecture) -> bool:
    """Tell whether the output matrix is that of the embedding."""
    stated = config.boolean("tie_word_embeddings")
    return architecture.is_tied_by_default if stated is None else stated


def describe(config: Fields, architecture: Architecture) -> tuple[dict[str, object], Rope]:
    """Return llama.cpp's keys (without the name of the architecture) and the rotation.

    Raises:
        NotRepackable: something that llama.cpp does not compute.
    """
    activation = config.text("hidden_activation", "hidden_act") or architecture.activations[0]
    if activation not in architecture.activations:
        raise NotRepackable(f"its activation is {activation}")
    shape = read_shape(config)
    layer_type = "full_attention" if architecture.name == "gemma3" else None
    parameters = parameters_of(config, layer_type)
    n_rotated = _count_rotated(config, parameters, shape.head_dim)
    rope = read_rope(config, n_rotated, parameters)
    return {
        "block_count": shape.n_layers,
        "context_length": config.integer("max_position_embeddings", minimum=1, maximum=MAX_UINT32)
        or 2048,
        "embedding_length": shape.width,
        "feed_forward_length": shape.feed_forward_width,
        "attention.head_count": shape.n_heads,
        "attention.head_count_kv": shape.n_kv_heads,
        "attention.key_length": shape.head_dim,
        "attention.value_length": shape.head_dim,
        "attention.layer_norm_rms_epsilon": required(config, "rms_norm_eps"),
        "rope.dimension_count": n_rotated,
        "rope.freq_base": rope.theta,
        **rope.metadata,
        **architecture.specifics(config, shape),
    }, rope


def _count_rotated(config: Fields, parameters: Fields, head_dim: int) -> int:
    """Return how many dimensions of a head are rotated: all, where no share is stated."""
    key = "partial_rotary_factor"
    stated = config if config.data.get(key) is not None else parameters
    share = positive(stated, key) or 1.0
    n_rotated = int(head_dim * share)
    if share > 1 or n_rotated < 1:
        stated.reject(key, "a part of a head, at most 1")
    return n_rotated
