"""What a GGUF header says of the model in it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle, islice

from qtool.models.config_json import MAX_LAYERS, sliding_by_period
from qtool.models.fields import Fields
from qtool.models.ggml_types import FILE_TYPE_LABELS
from qtool.models.gguf_header import ArraySummary, GgufHeader, GgufType
from qtool.models.info import AttentionShape, KvLayer, Quantization

_MAX_HEADS = 2**16
_MAX_WIDTH = 2**24
_GUESSED = 1024  # LLAMA_FTYPE_GUESSED, a flag
# Which layers slide is in llama.cpp's code, not in the file (set_swa_pattern in src/models/ and
# src/llama-model.cpp, as of July 2026): one layer in so many does not, the last of each group or,
# where True, the first. 0: all slide; 1: none does, whatever the file says.
_SWA_PERIODS = {
    "afmoe": (4, False),
    "cohere2": (4, False),
    "exaone-moe": (4, False),
    "exaone4": (4, False),
    "gemma2": (2, False),
    "gemma3": (6, False),
    "gemma3n": (5, False),
    "gpt-oss": (2, False),
    "llama": (1, False),
    "llama4": (4, False),
    "olmo2": (4, False),
    "phi3": (1, False),
    "plamo3": (8, False),
    "smallthinker": (4, True),
    "starcoder2": (1, False),
}


def gguf_architecture(header: GgufHeader, name: str) -> str | None:
    """Llama.cpp's name of the architecture."""
    return Fields(header.metadata, name).text("general.architecture")


def gguf_context_length(header: GgufHeader, name: str) -> int | None:
    """The context that the model was trained for, in tokens."""
    architecture = gguf_architecture(header, name)
    return Fields(header.metadata, name).integer(f"{architecture}.context_length")


def gguf_chat_template(header: GgufHeader, name: str) -> str | None:
    """The chat template, if there is one and it is not empty."""
    return Fields(header.metadata, name).text("tokenizer.chat_template") or None


def gguf_quantization(headers: Sequence[GgufHeader], name: str) -> Quantization:
    """The quantization of a model in one or several parts.

    Its label is what ``general.file_type`` says, else the type that most bytes are in. ``bits``
    is the average of the whole, scales and unquantized tensors included.
    """
    code = Fields(headers[0].metadata, name).integer("general.file_type", maximum=2**32)
    label = None if code is None else FILE_TYPE_LABELS.get(code & ~_GUESSED)
    if label is None:
        n_bytes: Counter[str] = Counter()
        for header in headers:
            for tensor in header.tensors:
                n_bytes[tensor.type.name] += tensor.n_bytes
        label = n_bytes.most_common(1)[0][0] if n_bytes else None
    n_params = sum(header.n_params for header in headers)
    total_bytes = sum(header.tensor_bytes for header in headers)
    bits = round(8 * total_bytes / n_params, 3) if n_params else None
    return Quantization("gguf", name, bits=bits, gguf_type=label)


def gguf_attention(header: GgufHeader, name: str) -> AttentionShape | None:
    """The shape of the KV cache as llama.cpp allocates it; None if it is not described."""
    fields = Fields(header.metadata, name)
    prefix = f"{gguf_architecture(header, name)}."
    n_layers = fields.integer(f"{prefix}block_count", minimum=1, maximum=MAX_LAYERS)
    if n_layers is None:
        return None
    heads = _by_layer(fields, f"{prefix}attention.head_count", n_layers)
    kv_heads = _by_layer(fields, f"{prefix}attention.head_count_kv", n_layers) or heads
    key_dim = fields.integer(f"{prefix}attention.key_length", minimum=1, maximum=_MAX_WIDTH)
    width = fields.integer(f"{prefix}embedding_length", maximum=_MAX_WIDTH)
    if key_dim is None and heads and max(heads) and width:
        key_dim = width // max(heads)
    if not kv_heads or not max(kv_heads) or key_dim is None:
        return None
    window = fields.integer(f"{prefix}attention.sliding_window") or None
    sliding = _sliding(fields, prefix, n_layers) if window else None
    layers = _layers(fields, prefix, kv_heads, key_dim, sliding or [False] * n_layers)
    is_mla = _is_mla(fields, prefix)
    rope = fields.integer(f"{prefix}rope.dimension_count", maximum=_MAX_WIDTH)
    rank = fields.integer(f"{prefix}attention.kv_lora_rank", minimum=1, maximum=_MAX_WIDTH)
    shape = AttentionShape(
        n_layers=n_layers,
        n_kv_heads=max(kv_heads),
        head_dim=key_dim,
        sliding_window=window,
        n_sliding_layers=None if sliding is None else sum(layer.is_sliding for layer in layers),
        kv_lora_rank=rank if is_mla else None,
        qk_rope_head_dim=rope if is_mla else None,
    )
    is_uniform = Counter(shape.kv_layers()) == Counter(layers)
    return shape if is_uniform else replace(shape, layers=layers)


def _is_mla(fields: Fields, prefix: str) -> bool:
    """Whether llama.cpp caches a latent: older conversions have the rank, but cache in full."""
    mla_keys = (f"{prefix}attention.key_length_mla", f"{prefix}attention.value_length_mla")
    return all(fields.integer(key, maximum=_MAX_WIDTH) for key in mla_keys)


def _layers(
    fields: Fields, prefix: str, kv_heads: list[int], key_dim: int, sliding: list[bool]
) -> tuple[KvLayer, ...]:
    """The layers with a KV cache of their own; the others have no heads, or share (Gemma 3n)."""

    def width(key: str, default: int) -> int:
        found = fields.integer(f"{prefix}attention.{key}", maximum=_MAX_WIDTH)
        return default if found is None else found

    is_mla = _is_mla(fields, prefix)
    value_dim = 0 if is_mla else width("value_length", key_dim)
    key_dim_swa, value_dim_swa = (
        width("key_length_swa", key_dim),
        width("value_length_swa", value_dim),
    )
    n_own = len(kv_heads) - min(width("shared_kv_layers", 0), len(kv_heads) - 1)
    return tuple(
        KvLayer(n_heads, key_dim_swa, value_dim_swa, is_sliding=True)
        if is_sliding
        else KvLayer(n_heads, key_dim, value_dim)
        for n_heads, is_sliding in list(zip(kv_heads, sliding, strict=True))[:n_own]
        if n_heads
    )


def _sliding(fields: Fields, prefix: str, n_layers: int) -> list[bool] | None:
    """Which layers the window applies to: by the file, by llama.cpp's table; None if by neither."""
    key = f"{prefix}attention.sliding_window_pattern"
    pattern = fields.data.get(key)
    if isinstance(pattern, ArraySummary):
        if not pattern.values:
            return None
        return [bool(value) for value in islice(cycle(pattern.values), n_layers)]
    period, is_full_first = _SWA_PERIODS.get(prefix[:-1], (None, False))
    stated = fields.integer(key, maximum=MAX_LAYERS)
    if period is not None and period > 1 and stated is not None:
        period = stated
    period = stated if period is None else period
    if period is None:
        return None
    return list(sliding_by_period(n_layers, period, is_full_first=is_full_first))


def _by_layer(fields: Fields, key: str, n_layers: int) -> list[int] | None:
    """A number for each layer, given as one for all or as an array."""
    value = fields.data.get(key)
    if not isinstance(value, ArraySummary):
        number = fields.integer(key, maximum=_MAX_HEADS)
        return None if number is None else [number] * n_layers
    is_numeric = value.element_type in {GgufType.INT32, GgufType.UINT32}
    values = value.values or ()
    if not is_numeric or len(values) < n_layers:
        fields.reject(key, f"{n_layers} whole numbers")
    numbers = [int(number) for number in values[:n_layers]]
    if not all(0 <= number <= _MAX_HEADS for number in numbers):
        fields.reject(key, f"numbers between 0 and {_MAX_HEADS}")
    return numbers
