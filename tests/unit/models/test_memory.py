"""Memory need, against figures computed by hand."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtool.errors import UsageError
from qtool.models.formats import inspect_model
from qtool.models.info import AttentionShape, KvLayer, ModelFormat, ModelInfo
from qtool.models.memory import (
    CUDA_CONTEXT_BYTES,
    MAX_CONTEXT_TOKENS,
    estimate_memory,
    kv_cache_elements,
    largest_context,
)

GIB = 2**30


def model(attention: AttentionShape | None, **fields: object) -> ModelInfo:
    defaults = {"weights_bytes": 4 * GIB, "context_length_tokens": 32768, **fields}
    return ModelInfo(Path("m"), ModelFormat.GPTQ, attention=attention, **defaults)  # type: ignore[arg-type]


MISTRAL = AttentionShape(n_layers=32, n_kv_heads=8, head_dim=128)


def test_mistral_keeps_128_kib_a_token() -> None:
    need = estimate_memory(model(MISTRAL), n_ctx_tokens=8192)
    assert need.kv_cache_bytes == 8192 * 128 * 1024 == GIB
    assert need.overhead_bytes == round(5 * GIB * 0.075)
    assert need.total_bytes == 5 * GIB + need.overhead_bytes


def test_cuda_takes_a_context_besides() -> None:
    cpu = estimate_memory(model(MISTRAL), n_ctx_tokens=8192)
    cuda = estimate_memory(model(MISTRAL), n_ctx_tokens=8192, is_cuda=True)
    assert cuda.total_bytes - cpu.total_bytes == CUDA_CONTEXT_BYTES == GIB // 2


def test_batch_and_element_size_multiply_the_cache() -> None:
    need = estimate_memory(model(MISTRAL), n_ctx_tokens=8192, batch=3, kv_bytes_per_element=34 / 32)
    assert need.kv_cache_bytes == 3 * GIB * 34 // 64


def test_sliding_layers_keep_window_and_prefill_step() -> None:
    """Gemma 3 4B: 29 of 34 layers slide over 1024 tokens; 4 heads of 256."""
    gemma = AttentionShape(34, 4, 256, sliding_window=1024, n_sliding_layers=29)
    cells = 5 * 32768 + 29 * (1024 + 512)
    assert kv_cache_elements(model(gemma), 32768) == cells * 2 * 4 * 256
    assert kv_cache_elements(model(gemma), 1000) == 34 * 1000 * 2 * 4 * 256


def test_window_is_rounded_up_to_the_alignment_of_llama_cpp() -> None:
    shape = AttentionShape(1, 1, 1, sliding_window=128, n_sliding_layers=1)
    assert kv_cache_elements(model(shape), 10_000) == 2 * 768  # 128 + 512, rounded to 256


def test_unknown_sliding_layers_give_an_upper_bound() -> None:
    shape = AttentionShape(4, 1, 1, sliding_window=128)
    assert kv_cache_elements(model(shape), 10_000) == 4 * 2 * 10_000


def test_latent_attention_keeps_one_latent_a_layer() -> None:
    """DeepSeek-V3: 61 layers of 512 + 64 numbers are 70,272 bytes a token."""
    deepseek = AttentionShape(61, 128, 56, kv_lora_rank=512, qk_rope_head_dim=64)
    need = estimate_memory(model(deepseek), n_ctx_tokens=1000)
    assert need.kv_cache_bytes == 70_272_000


def test_layers_that_differ_are_added_up() -> None:
    shape = AttentionShape(8, 4, 16, layers=(KvLayer(4, 16, 16), KvLayer(2, 8, 4)))
    assert kv_cache_elements(model(shape), 10) == 10 * (4 * 32 + 2 * 12)


def test_unknown_shape_is_admitted() -> None:
    need = estimate_memory(model(None), n_ctx_tokens=8192)
    assert (need.kv_cache_bytes, need.is_kv_known) == (0, False)
    assert largest_context(model(None), 100 * GIB) is None


@pytest.mark.parametrize("wrong", [{"n_ctx_tokens": 0}, {"n_ctx_tokens": 1, "batch": 0}])
def test_nothing_to_compute_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        estimate_memory(model(MISTRAL), **wrong)


def test_largest_context_is_the_models_own_when_it_fits() -> None:
    assert largest_context(model(MISTRAL), 100 * GIB) == 32768
    assert largest_context(model(MISTRAL, context_length_tokens=None), 2**60) == MAX_CONTEXT_TOKENS


def test_largest_context_is_none_when_the_weights_do_not_fit() -> None:
    assert largest_context(model(MISTRAL), 4 * GIB) is None


@given(st.integers(GIB, 12 * GIB), st.booleans(), st.integers(1, 3))
def test_largest_context_fits_and_one_token_more_does_not(
    budget_bytes: int, is_cuda: bool, batch: int
) -> None:
    info = model(AttentionShape(34, 4, 256, sliding_window=1024, n_sliding_layers=29))

    def total(n_ctx_tokens: int) -> int:
        need = estimate_memory(info, n_ctx_tokens=n_ctx_tokens, is_cuda=is_cuda, batch=batch)
        return need.total_bytes

    context = largest_context(info, budget_bytes, is_cuda=is_cuda, batch=batch)
    if context is None:
        assert total(1) > budget_bytes
        return
    assert total(context) <= budget_bytes
    assert context == 32768 or total(context + 1) > budget_bytes


@pytest.mark.model
def test_starter_model_needs_what_llama_cpp_allocates(starter_gguf: Path) -> None:
    """llama-server prints 92.10 MiB of weights and 180.00 MiB of KV cache for 8192 cells."""
    need = estimate_memory(inspect_model(starter_gguf), n_ctx_tokens=8192)
    assert round(need.weights_bytes / 2**20, 2) == 92.10
    assert need.kv_cache_bytes == 180 * 2**20
