"""How much memory a model needs: weights, KV cache, and what the runtime takes besides.

    need = weights + KV cache + CUDA context + a share for activations and buffers
    KV cache = batch * bytes * sum over layers of cells * kv_heads * (key width + value width)

``cells`` are the context length, or for layers with a sliding window the window and the tokens of
one prefill step. With latent attention (MLA) a layer keeps one latent of ``kv_lora_rank +
qk_rope_head_dim`` for all heads. (transformers itself expands that latent in its cache; llama.cpp
and vLLM keep it.)
"""

from dataclasses import dataclass
from math import ceil

from qtool.errors import UsageError
from qtool.models.info import ModelInfo

# A CUDA context with its kernels and libraries takes 0.3 to 0.6 GiB per process (seen with
# nvidia-smi on drivers 525 to 580): the upper half of it, to be on the safe side.
CUDA_CONTEXT_BYTES = 512 * 2**20
# Activations, logits and allocator slack: 5 to 10 % of what else is there; the middle.
BUFFER_SHARE = 0.075
# llama.cpp processes a prompt in steps of 512 tokens (n_ubatch in common/common.h), keeps as many
# cells beyond the window, and rounds up to 256 (src/llama-kv-cache-iswa.cpp).
PREFILL_STEP_TOKENS = 512
CELL_ALIGNMENT = 256
# What a conversation is given where nobody asks for more or less: long enough for most, and small
# machines can hold it. `qtool chat` serves it, `qtool doctor` reckons with it.
DEFAULT_CONTEXT_TOKENS = 8192
# Where a model does not say how far it goes, nothing longer than this is worth asking about.
MAX_CONTEXT_TOKENS = 2**20


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Bytes that a model needs on one device; ``is_kv_known`` is False where the KV cache could
    not be computed and counts as nothing."""

    weights_bytes: int
    kv_cache_bytes: int
    overhead_bytes: int
    is_kv_known: bool = True

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.kv_cache_bytes + self.overhead_bytes


def estimate_memory(
    info: ModelInfo,
    *,
    n_ctx_tokens: int,
    kv_bytes_per_element: float = 2,
    batch: int = 1,
    is_cuda: bool = False,
) -> MemoryNeed:
    """Estimate what ``info`` needs with ``batch`` sequences of ``n_ctx_tokens`` each.

    ``kv_bytes_per_element`` is 2 for fp16 and bf16, 1.0625 for llama.cpp's q8_0.

    Raises:
        UsageError: a context or batch below 1.
    """
    if n_ctx_tokens < 1 or batch < 1:
        raise UsageError(f"a context of {n_ctx_tokens} tokens, batch {batch}: at least 1 is needed")
    kv_elements = kv_cache_elements(info, n_ctx_tokens)
    kv_cache_bytes = ceil((kv_elements or 0) * batch * kv_bytes_per_element)
    buffers = ceil((info.weights_bytes + kv_cache_bytes) * BUFFER_SHARE)
    return MemoryNeed(
        info.weights_bytes,
        kv_cache_bytes,
        buffers + (CUDA_CONTEXT_BYTES if is_cuda else 0),
        is_kv_known=kv_elements is not None,
    )


def kv_cache_elements(info: ModelInfo, n_ctx_tokens: int) -> int | None:
    """Numbers in the KV cache of one sequence; None if the shape of the model is not known."""
    if info.attention is None:
        return None
    sliding_cells = n_ctx_tokens
    if window := info.attention.sliding_window:
        aligned = -(-(window + PREFILL_STEP_TOKENS) // CELL_ALIGNMENT) * CELL_ALIGNMENT
        sliding_cells = min(n_ctx_tokens, aligned)
    return sum(
        layer.elements_per_token * (sliding_cells if layer.is_sliding else n_ctx_tokens)
        for layer in info.attention.kv_layers()
    )


def largest_context(
    info: ModelInfo,
    budget_bytes: int,
    *,
    kv_bytes_per_element: float = 2,
    batch: int = 1,
    is_cuda: bool = False,
) -> int | None:
    """The longest context, in tokens, with which ``info`` fits into ``budget_bytes``.

    At most what the model was made for (2**20 where it does not say). None if it does not fit
    with a context of one token, or the shape of its KV cache is not known.
    """
    if info.attention is None:
        return None

    def fits(n_ctx_tokens: int) -> bool:
        need = estimate_memory(
            info,
            n_ctx_tokens=n_ctx_tokens,
            kv_bytes_per_element=kv_bytes_per_element,
            batch=batch,
            is_cuda=is_cuda,
        )
        return need.total_bytes <= budget_bytes

    fitting, too_long = 0, (info.context_length_tokens or MAX_CONTEXT_TOKENS) + 1
    while too_long - fitting > 1:
        middle = (fitting + too_long) // 2
        if fits(middle):
            fitting = middle
        else:
            too_long = middle
    return fitting or None
