"""What transformers' config.json says of a model. Pure: the mapping may come from anywhere.

The synonyms are those of transformers' model families (src/transformers/models/*/
configuration_*.py) and of the most used ones outside of it (ChatGLM, MPT, Qwen 1, InternVL).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from qtool.models.fields import Fields
from qtool.models.info import AttentionShape, KvLayer, ModelFormat, Quantization
from qtool.models.quantization import parse_quantization

MAX_LAYERS = 4096  # the deepest known have 130
_MAX_HEADS = 2**16
_MAX_WIDTH = 2**24
# Where a multimodal model keeps the configuration of its language model, outermost first.
_LANGUAGE_SECTIONS = ("thinker_config", "text_config", "llm_config", "language_config")
# sliding_window_pattern of families whose config.json leaves it at the default: one layer in so
# many attends to everything. 1: none slides; 0: all do.
_DEFAULT_PATTERNS = {
    "gemma2": 2,
    "gemma3": 6,
    "gemma3_text": 6,
    "cohere2": 4,
    "gpt_oss": 2,
    "exaone4": 4,
    "mistral": 0,
    "mixtral": 0,
    "phi3": 0,
    "starcoder2": 0,
    "gemma": 1,
    "llama": 1,
    "phi": 1,
}


@dataclass(frozen=True, slots=True)
class ConfigFacts:
    """What a config.json says; None is unknown. ``format`` is PLAIN where nothing is quantized."""

    format: ModelFormat
    quantization: Quantization | None
    architecture: str | None
    model_type: str | None
    context_length_tokens: int | None
    attention: AttentionShape | None
    dtype: str | None


def inspect_config(config: Mapping[str, Any], *, source: str = "config.json") -> ConfigFacts:
    """Read the parts of a config.json that matter for choosing an engine and its memory.

    ``context_length_tokens`` is ``max_position_embeddings`` as written: RoPE scaling multiplies
    it in some families and is already in it in others.

    Raises:
        IntegrityError: a value of the wrong type or out of range, named by ``source`` and key.
    """
    fields = Fields(config, source)
    model = _language_model(fields)
    quantization_fields = fields.section("quantization_config") or model.section(
        "quantization_config"
    )
    model_format, quantization = ModelFormat.PLAIN, None
    if quantization_fields is not None:
        model_format, quantization = parse_quantization(quantization_fields)
    architectures = fields.texts("architectures") or model.texts("architectures")
    return ConfigFacts(
        model_format,
        quantization,
        architectures[0] if architectures else None,
        fields.text("model_type"),
        model.integer(
            *("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len"),
            *("seq_length", "n_ctx"),
        ),
        _attention(model),
        _dtype(fields) or _dtype(model),
    )


def _language_model(fields: Fields) -> Fields:
    """The section that describes the language model: a nested one, or the whole."""
    for key in _LANGUAGE_SECTIONS:
        if section := fields.section(key):
            fields = section
    return fields


def _dtype(fields: Fields) -> str | None:
    dtype = fields.text("dtype", "torch_dtype")  # transformers 5, 4
    return dtype.removeprefix("torch.") if dtype else None


def _attention(fields: Fields) -> AttentionShape | None:
    """The shape of the KV cache; None if layers or heads are not given (or there are none)."""
    n_layers = fields.integer(
        "num_hidden_layers", "n_layer", "n_layers", "num_layers", minimum=1, maximum=MAX_LAYERS
    )
    n_heads = fields.integer(
        "num_attention_heads", "n_head", "n_heads", minimum=1, maximum=_MAX_HEADS
    )
    head_dim = _head_dim(fields, n_heads)
    if n_layers is None or n_heads is None or head_dim is None:
        return None
    window, sliding = _sliding_layers(fields, n_layers)
    shape = AttentionShape(
        n_layers=n_layers,
        n_kv_heads=_n_kv_heads(fields, n_heads),
        head_dim=head_dim,
        sliding_window=window,
        n_sliding_layers=None if sliding is None else sum(sliding),
        kv_lora_rank=fields.integer("kv_lora_rank", minimum=1, maximum=_MAX_WIDTH),
        qk_rope_head_dim=fields.integer("qk_rope_head_dim", maximum=_MAX_WIDTH),
    )
    return _with_layers(fields, shape, sliding or (False,) * n_layers)


def _head_dim(fields: Fields, n_heads: int | None) -> int | None:
    head_dim = fields.integer("head_dim", "kv_channels", minimum=1, maximum=_MAX_WIDTH)
    hidden = fields.integer("hidden_size", "n_embd", "d_model", minimum=1, maximum=_MAX_WIDTH)
    if head_dim is not None or n_heads is None or hidden is None:
        return head_dim
    return max(hidden // n_heads, 1)


def _n_kv_heads(fields: Fields, n_heads: int) -> int:
    if fields.boolean("multi_query_attention"):  # ChatGLM
        return fields.integer("multi_query_group_num", minimum=1, maximum=_MAX_HEADS) or n_heads
    found = fields.integer(
        "num_key_value_heads", "num_kv_heads", "n_head_kv", minimum=1, maximum=_MAX_HEADS
    )
    if found is None and (attention := fields.section("attn_config")):  # MPT, DBRX
        found = attention.integer("kv_n_heads", minimum=1, maximum=_MAX_HEADS)
    if fields.boolean("multi_query") and not fields.boolean("new_decoder_architecture"):
        return 1  # the first Falcons and StarCoder
    return found or n_heads


def _sliding_layers(fields: Fields, n_layers: int) -> tuple[int | None, tuple[bool, ...] | None]:
    """The window, and which layers it applies to; None where that is not known."""
    window = fields.integer("sliding_window", "attention_chunk_size")
    is_used = fields.boolean("use_sliding_window")
    if is_used is None:
        is_used = not (fields.text("model_type") or "").startswith("qwen")  # theirs is off
    if not window or not is_used:
        return None, None
    kinds = fields.texts("layer_types")
    if kinds is not None:
        is_sliding = ["sliding" in kind or "chunked" in kind for kind in kinds[:n_layers]]
        return window, tuple(is_sliding + [False] * (n_layers - len(is_sliding)))
    first = fields.integer("max_window_layers", maximum=MAX_LAYERS)  # Qwen 2: from there on
    if first is not None:
        return window, tuple(index >= first for index in range(n_layers))
    pattern = fields.integer("sliding_window_pattern", "_sliding_window_pattern")
    if pattern is None:
        pattern = _DEFAULT_PATTERNS.get(fields.text("model_type") or "")
    if pattern is None:
        return window, None
    return window, sliding_by_period(n_layers, pattern)


def sliding_by_period(
    n_layers: int, period: int, *, is_full_first: bool = False
) -> tuple[bool, ...]:
    """Which layers slide when one in ``period`` does not: the last of each group, or the first.

    A period of 0 means that all slide.
    """
    full = 0 if is_full_first else period - 1
    return tuple(period == 0 or index % period != full for index in range(n_layers))


def _with_layers(
    fields: Fields, shape: AttentionShape, sliding: tuple[bool, ...]
) -> AttentionShape:
    """Spell the layers out where they differ by more than their window."""
    caching = _caching_layers(fields, shape.n_layers)
    global_dim = fields.integer("global_head_dim", minimum=1, maximum=_MAX_WIDTH)  # Gemma 4
    if all(caching) and global_dim is None:
        return shape
    heads = fields.integer("num_global_key_value_heads", minimum=1, maximum=_MAX_HEADS)
    full_dim = global_dim or shape.head_dim
    full = KvLayer(heads or shape.n_kv_heads, full_dim, full_dim)
    slides = KvLayer(shape.n_kv_heads, shape.head_dim, shape.head_dim, is_sliding=True)
    if shape.kv_lora_rank:
        full = KvLayer(1, shape.kv_lora_rank + (shape.qk_rope_head_dim or 0), 0)
    layers = tuple(
        slides if is_sliding else full
        for is_caching, is_sliding in zip(caching, sliding, strict=True)
        if is_caching
    )
    return replace(shape, layers=layers, n_sliding_layers=sum(layer.is_sliding for layer in layers))


def _caching_layers(fields: Fields, n_layers: int) -> list[bool]:
    """Which layers have a KV cache of their own; those of hybrids with other means have none."""
    caching = [True] * n_layers
    kinds = fields.texts("layer_types") or fields.texts("layers_block_type")
    if kinds is not None:
        caching = [
            kind == "hybrid" or ("attention" in kind and "linear" not in kind)
            for kind in kinds[:n_layers]
        ]
        caching += [True] * (n_layers - len(caching))
    elif interval := fields.integer("full_attention_interval", maximum=MAX_LAYERS):
        caching = [(index + 1) % interval == 0 for index in range(n_layers)]
    elif period := fields.integer("attn_layer_period", maximum=MAX_LAYERS):  # Jamba
        offset = fields.integer("attn_layer_offset", maximum=MAX_LAYERS) or 0
        caching = [index % period == offset for index in range(n_layers)]
    shared = fields.integer("num_kv_shared_layers", maximum=MAX_LAYERS)  # Gemma 3n: the last ones
    if shared:
        caching[max(n_layers - shared, 0) :] = [False] * min(shared, n_layers)
    return caching
