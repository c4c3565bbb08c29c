"""config.json of real families, abridged, against what is known of them."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtool.errors import IntegrityError
from qtool.models.config_json import ConfigFacts, inspect_config, sliding_by_period
from qtool.models.info import AttentionShape, KvLayer, ModelFormat

MISTRAL = {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 32768,
    "sliding_window": None,
    "torch_dtype": "bfloat16",
}


def attention_of(**config: Any) -> AttentionShape:
    attention = inspect_config(config).attention
    assert attention is not None
    return attention


def test_mistral_is_described() -> None:
    assert inspect_config(MISTRAL) == ConfigFacts(
        format=ModelFormat.PLAIN,
        quantization=None,
        architecture="MistralForCausalLM",
        model_type="mistral",
        context_length_tokens=32768,
        attention=AttentionShape(n_layers=32, n_kv_heads=8, head_dim=128),
        dtype="bfloat16",
    )


def test_rope_scaling_does_not_change_the_context_length() -> None:
    scaling = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    assert inspect_config({**MISTRAL, "rope_scaling": scaling}).context_length_tokens == 32768


def test_first_mistral_slides_in_all_layers() -> None:
    attention = attention_of(**{**MISTRAL, "sliding_window": 4096})
    assert (attention.sliding_window, attention.n_sliding_layers) == (4096, 32)


def test_gpt2_has_names_of_its_own() -> None:
    facts = inspect_config({"n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024})
    assert facts.attention == AttentionShape(n_layers=12, n_kv_heads=12, head_dim=64)
    assert facts.context_length_tokens == 1024


def test_head_dim_is_taken_as_stated_over_the_quotient() -> None:
    attention = attention_of(
        hidden_size=2560, num_attention_heads=32, num_hidden_layers=36, head_dim=128
    )
    assert attention.head_dim == 128


@pytest.mark.parametrize(
    ("extra", "n_kv_heads"),
    [
        ({"multi_query": True}, 1),
        ({"multi_query": True, "new_decoder_architecture": True, "num_kv_heads": 8}, 8),
        ({"multi_query_attention": True, "multi_query_group_num": 2}, 2),
        ({"attn_config": {"kv_n_heads": 4}}, 4),
        ({"num_key_value_heads": None}, 16),
    ],
)
def test_number_of_kv_heads_is_found(extra: dict[str, Any], n_kv_heads: int) -> None:
    attention = attention_of(hidden_size=1024, num_attention_heads=16, num_hidden_layers=2, **extra)
    assert attention.n_kv_heads == n_kv_heads


def test_language_model_of_a_multimodal_one_is_described() -> None:
    facts = inspect_config(
        {
            "architectures": ["Gemma3ForConditionalGeneration"],
            "model_type": "gemma3",
            "vision_config": {"num_hidden_layers": 27, "hidden_size": 1152},
            "text_config": {
                "model_type": "gemma3_text",
                "hidden_size": 2560,
                "num_hidden_layers": 34,
                "num_attention_heads": 8,
                "num_key_value_heads": 4,
                "head_dim": 256,
                "sliding_window": 1024,
                "max_position_embeddings": 131072,
            },
            "torch_dtype": "bfloat16",
        }
    )
    assert facts.architecture == "Gemma3ForConditionalGeneration"
    assert facts.context_length_tokens == 131072
    # layers 6, 12, 18, 24, 30 of 34 attend to everything
    assert facts.attention == AttentionShape(34, 4, 256, sliding_window=1024, n_sliding_layers=29)


def test_sections_within_sections_are_followed() -> None:
    config = {"thinker_config": {"text_config": MISTRAL}}
    assert inspect_config(config).context_length_tokens == 32768


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({"use_sliding_window": False, "max_window_layers": 2}, (None, None)),
        ({"use_sliding_window": True, "max_window_layers": 3}, (512, 5)),
        ({"model_type": "qwen2"}, (None, None)),
        ({"model_type": "gemma2"}, (512, 4)),
        ({"model_type": "gpt_oss"}, (512, 4)),
        ({"model_type": "cohere2"}, (512, 6)),
        ({"model_type": "unheard_of"}, (512, None)),
        ({"model_type": "unheard_of", "sliding_window_pattern": 4}, (512, 6)),
        ({"layer_types": ["sliding_attention"] * 7 + ["full_attention"]}, (512, 7)),
        ({"layer_types": ["full_attention"] * 8}, (512, 0)),
    ],
)
def test_sliding_layers_are_counted(
    extra: dict[str, Any], expected: tuple[int | None, int | None]
) -> None:
    attention = attention_of(
        hidden_size=64, num_attention_heads=4, num_hidden_layers=8, sliding_window=512, **extra
    )
    assert (attention.sliding_window, attention.n_sliding_layers) == expected


def test_deepseek_has_latent_attention() -> None:
    attention = attention_of(
        hidden_size=7168,
        num_attention_heads=128,
        num_key_value_heads=128,
        num_hidden_layers=61,
        kv_lora_rank=512,
        qk_rope_head_dim=64,
    )
    assert attention.kv_layers() == (KvLayer(1, 576, 0),) * 61


HYBRID = {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 8}


@pytest.mark.parametrize(
    ("extra", "n_caching"),
    [
        ({"layer_types": ["linear_attention"] * 3 + ["full_attention"] + ["mamba"] * 4}, 1),
        ({"layers_block_type": ["mamba"] * 7 + ["hybrid"]}, 1),
        ({"full_attention_interval": 4}, 2),
        ({"attn_layer_period": 8, "attn_layer_offset": 4}, 1),
        ({"num_kv_shared_layers": 3}, 5),
        ({"num_kv_shared_layers": 0}, 8),
    ],
)
def test_layers_without_a_cache_are_left_out(extra: dict[str, Any], n_caching: int) -> None:
    attention = attention_of(**HYBRID, **extra)
    assert attention.n_layers == 8
    assert attention.kv_layers() == (KvLayer(4, 16, 16),) * n_caching


def test_latent_attention_may_be_in_some_layers_only() -> None:
    attention = attention_of(
        **HYBRID,
        kv_lora_rank=32,
        qk_rope_head_dim=8,
        layer_types=["linear_attention"] * 6 + ["full_attention"] * 2,
    )
    assert attention.kv_layers() == (KvLayer(1, 40, 0),) * 2


def test_full_layers_may_have_other_heads_than_sliding_ones() -> None:
    attention = attention_of(
        **HYBRID,
        sliding_window=32,
        layer_types=["sliding_attention"] * 6 + ["full_attention"] * 2,
        global_head_dim=48,
        num_global_key_value_heads=1,
    )
    assert attention.kv_layers() == (KvLayer(4, 16, 16, True),) * 6 + (KvLayer(1, 48, 48),) * 2


@pytest.mark.parametrize(
    ("n_layers", "period", "is_full_first", "expected"),
    [
        (6, 3, False, "110110"),
        (6, 3, True, "011011"),
        (4, 0, False, "1111"),
        (4, 1, False, "0000"),
        (4, 1, True, "0000"),
    ],
)
def test_period_marks_one_layer_in_so_many(
    n_layers: int, period: int, is_full_first: bool, expected: str
) -> None:
    sliding = sliding_by_period(n_layers, period, is_full_first=is_full_first)
    assert "".join(str(int(slides)) for slides in sliding) == expected


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_hidden_layers", "32"),
        ("num_hidden_layers", 10**9),
        ("num_hidden_layers", 0),
        ("num_attention_heads", 0),
        ("num_attention_heads", True),
        ("num_key_value_heads", -1),
        ("hidden_size", float("nan")),
        pytest.param("hidden_size", 1 << 20_000, id="hidden_size-2**20000"),
        ("max_position_embeddings", 1e300),
        ("architectures", "LlamaForCausalLM"),
        ("architectures", [None]),
        ("text_config", []),
        ("quantization_config", "gptq"),
        ("torch_dtype", 16),
        ("layer_types", {"0": "full_attention"}),
        ("sliding_window", "4k"),
    ],
)
def test_wrong_value_is_named_with_file_and_key(key: str, value: object) -> None:
    with pytest.raises(IntegrityError, match=rf"^config\.json: '{key}' should be"):
        inspect_config({**MISTRAL, key: value})


KEYS = st.sampled_from(
    [
        *MISTRAL,
        *("text_config", "layer_types", "head_dim", "kv_lora_rank", "dtype", "attn_config"),
        *("quantization_config", "num_kv_shared_layers", "full_attention_interval"),
        *("sliding_window_pattern", "max_window_layers", "multi_query", "global_head_dim"),
        *("bits", "quant_method", "load_in_4bit", "config_groups", "weights", "group_size"),
    ]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["gptq", "awq", "compressed-tensors", "qwen2", "full_attention", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=6,
)


@given(st.dictionaries(KEYS, VALUES, max_size=8), st.booleans())
@settings(max_examples=150)
def test_any_values_give_facts_or_integrity_error(values: dict[str, Any], is_based: bool) -> None:
    try:
        facts = inspect_config({**MISTRAL, **values} if is_based else values)
    except IntegrityError as error:
        assert error.message.isprintable()
        return
    if facts.attention:
        layers = facts.attention.kv_layers()
        assert len(layers) <= facts.attention.n_layers
