"""What is known of a model without loading it."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class ModelFormat(StrEnum):
    """How the weights of a model are stored, which decides what can run it."""

    GPTQ = "gptq"
    AWQ = "awq"
    GGUF = "gguf"
    BITSANDBYTES = "bitsandbytes"
    COMPRESSED_TENSORS = "compressed-tensors"
    FP8 = "fp8"
    PLAIN = "plain"  # not quantized: safetensors or PyTorch files of floats
    OTHER = "other"  # quantized by a method of another name: see Quantization.method


@dataclass(frozen=True, slots=True)
class Quantization:
    """How weights were quantized, as the file named in ``source`` says it; None is unknown.

    ``bits`` are those of a quantized weight, without its share of scales; for GGUF, which mixes
    types, the average over the whole file with everything included. ``group_size`` is the number
    of inputs that share a scale, -1 for all of them. ``is_act_order`` is GPTQ's ``desc_act``.
    ``checkpoint_format`` distinguishes layouts within a method (``gptq``, ``gptq_v2``,
    ``marlin``; ``nf4``; ``pack-quantized``), ``version`` is AWQ's (``gemm``, ``gemv``).
    ``gguf_type`` is a label such as ``Q4_K_M``.
    """

    method: str
    source: str
    bits: float | None = None
    group_size: int | None = None
    is_symmetric: bool | None = None
    is_act_order: bool | None = None
    zero_point: bool | None = None
    checkpoint_format: str | None = None
    version: str | None = None
    gguf_type: str | None = None


@dataclass(frozen=True, slots=True)
class KvLayer:
    """What one layer keeps in the KV cache of every token: heads times (key and value width)."""

    n_kv_heads: int
    key_dim: int
    value_dim: int
    is_sliding: bool = False

    @property
    def elements_per_token(self) -> int:
        return self.n_kv_heads * (self.key_dim + self.value_dim)


@dataclass(frozen=True, slots=True)
class AttentionShape:
    """The part of an architecture that decides the size of its KV cache.

    ``n_layers`` are all transformer blocks. ``layers``, where known, are those among them that
    have a KV cache (in hybrids with Mamba, convolution or linear attention only some have);
    empty, all layers are alike and as the other fields say. ``n_sliding_layers`` is None where
    ``sliding_window`` is set but not which layers obey it: then none is assumed to, which gives
    an upper bound. ``kv_lora_rank`` set means latent attention (MLA): one latent of
    ``kv_lora_rank + qk_rope_head_dim`` per token and layer instead of keys and values.
    """

    n_layers: int
    n_kv_heads: int
    head_dim: int
    sliding_window: int | None = None
    n_sliding_layers: int | None = None
    kv_lora_rank: int | None = None
    qk_rope_head_dim: int | None = None
    layers: tuple[KvLayer, ...] = ()

    def kv_layers(self) -> tuple[KvLayer, ...]:
        """The layers that have a KV cache."""
        if self.layers:
            return self.layers
        n_sliding = self.n_sliding_layers or 0
        return tuple(self._kv_layer(index < n_sliding) for index in range(self.n_layers))

    def _kv_layer(self, is_sliding: bool) -> KvLayer:
        if self.kv_lora_rank:
            return KvLayer(1, self.kv_lora_rank + (self.qk_rope_head_dim or 0), 0, is_sliding)
        return KvLayer(self.n_kv_heads, self.head_dim, self.head_dim, is_sliding)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model on this machine, from its headers and configuration alone. None is unknown.

    ``architecture`` is the class of transformers (``LlamaForCausalLM``) or, for GGUF, llama.cpp's
    name (``llama``). ``n_params`` counts logical weights: eight to an int32 where 4-bit codes are
    packed, scales and zero points not at all. ``weights_bytes`` are those of the tensors.
    ``files`` hold the weights, in loading order; ``missing_files`` should, but are not there.
    ``warnings`` are sentences for the user.
    """

    path: Path
    format: ModelFormat
    quantization: Quantization | None = None
    architecture: str | None = None
    n_params: int | None = None
    weights_bytes: int = 0
    context_length_tokens: int | None = None
    has_chat_template: bool = False
    attention: AttentionShape | None = None
    tokenizer_class: str | None = None
    dtype: str | None = None
    files: tuple[Path, ...] = ()
    missing_files: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
