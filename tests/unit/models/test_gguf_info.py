"""The KV cache of GGUF models, as llama.cpp allocates it."""

import io

import pytest

from qtool.errors import IntegrityError
from qtool.models.gguf import read_gguf_header
from qtool.models.gguf_info import gguf_attention
from qtool.models.info import AttentionShape, KvLayer
from tests.unit.models.build import gguf


def attention_of(architecture: str, **keys: object) -> AttentionShape | None:
    metadata = {f"{architecture}.{key}": item for key, item in keys.items() if item is not None}
    data = gguf({"general.architecture": architecture, **metadata})
    return gguf_attention(read_gguf_header(io.BytesIO(data)), "x.gguf")


BASE = {"block_count": 6, "embedding_length": 64, "attention.head_count": 4}


def test_missing_kv_heads_mean_as_many_as_heads() -> None:
    assert attention_of("llama", **BASE) == AttentionShape(n_layers=6, n_kv_heads=4, head_dim=16)


def test_stated_key_length_wins_over_the_quotient() -> None:
    attention = attention_of("qwen3", **BASE, **{"attention.key_length": 32})
    assert attention is not None
    assert attention.kv_layers() == (KvLayer(4, 32, 32),) * 6


def test_values_may_be_narrower_than_keys() -> None:
    keys = {"attention.key_length": 32, "attention.value_length": 24}
    attention = attention_of("x", **BASE, **keys)
    assert attention is not None
    assert attention.kv_layers() == (KvLayer(4, 32, 24),) * 6


def test_layers_without_kv_heads_have_no_cache() -> None:
    attention = attention_of("lfm2", **BASE, **{"attention.head_count_kv": [0, 0, 2, 0, 0, 2]})
    assert attention is not None
    assert (attention.n_layers, attention.kv_layers()) == (6, (KvLayer(2, 16, 16),) * 2)


def test_shared_layers_have_no_cache() -> None:
    attention = attention_of("gemma3n", **BASE, **{"attention.shared_kv_layers": 2})
    assert attention is not None
    assert len(attention.kv_layers()) == 4


@pytest.mark.parametrize(
    ("architecture", "pattern", "n_sliding"),
    [
        ("gemma2", None, 3),
        ("gemma3", None, 5),
        ("gemma3", 3, 4),
        ("gemma4", [1, 1, 0, 1, 1, 0], 4),
        ("gpt-oss", None, 3),
        ("smallthinker", None, 4),
        ("llama", None, 0),
        ("llama", 2, 0),
        ("phi3", None, 0),
        ("unheard-of", None, None),
        ("gemma4", [], None),
        ("unheard-of", 2, 3),
    ],
)
def test_sliding_layers_are_those_of_llama_cpp(
    architecture: str, pattern: object, n_sliding: int | None
) -> None:
    keys = {"attention.sliding_window": 8, "attention.sliding_window_pattern": pattern}
    attention = attention_of(architecture, **BASE, **keys)
    assert attention is not None
    assert (attention.sliding_window, attention.n_sliding_layers) == (8, n_sliding)


def test_sliding_layers_may_have_narrower_heads() -> None:
    keys = {
        "attention.sliding_window": 8,
        "attention.sliding_window_pattern": [1, 0] * 3,
        "attention.key_length": 32,
        "attention.value_length": 32,
        "attention.key_length_swa": 8,
        "attention.value_length_swa": 8,
    }
    attention = attention_of("gemma4", **BASE, **keys)
    assert attention is not None
    assert attention.kv_layers() == (KvLayer(4, 8, 8, True), KvLayer(4, 32, 32)) * 3


LATENT = {
    "attention.head_count_kv": 1,
    "attention.key_length": 576,
    "attention.value_length": 512,
    "attention.kv_lora_rank": 512,
    "rope.dimension_count": 64,
}


def test_latent_attention_caches_the_latent_only() -> None:
    mla = {"attention.key_length_mla": 192, "attention.value_length_mla": 128}
    attention = attention_of("deepseek2", **BASE, **LATENT, **mla)
    assert attention is not None
    assert (attention.kv_lora_rank, attention.qk_rope_head_dim) == (512, 64)
    assert attention.kv_layers() == (KvLayer(1, 576, 0),) * 6


def test_older_conversions_of_latent_attention_cache_in_full() -> None:
    attention = attention_of("deepseek2", **BASE, **LATENT)
    assert attention is not None
    assert attention.kv_lora_rank is None
    assert attention.kv_layers() == (KvLayer(1, 576, 512),) * 6


@pytest.mark.parametrize("absent", ["block_count", "attention.head_count"])
def test_shape_is_unknown_when_it_is_not_described(absent: str) -> None:
    assert attention_of("llama", **{**BASE, absent: None}) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("block_count", "6"),
        ("block_count", 100_000),
        ("attention.head_count_kv", [1, 2]),
        ("attention.head_count_kv", ["1"] * 6),
        ("attention.head_count_kv", [2**31] * 6),
        ("attention.key_length", 0.5),
        ("attention.sliding_window", True),
    ],
)
def test_wrong_value_is_named_with_file_and_key(key: str, value: object) -> None:
    with pytest.raises(IntegrityError, match=rf"^x\.gguf: 'llama\.{key}' should be"):
        attention_of("llama", **{**BASE, key: value})
