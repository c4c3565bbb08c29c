"""Any number in any place of config.json: a GGUF, or words, never a traceback."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtool.engines.repack.plan import plan_repack
from qtool.engines.repack.write import write_gguf
from qtool.errors import ExitCode, IntegrityError, QtoolError
from qtool.models.formats import inspect_model
from tests.unit.engines.repack.checkpoints import CONFIG, Model

OPTIONAL = (
    *("head_dim", "sliding_window", "rope_theta", "partial_rotary_factor", "rms_norm_eps"),
    *("original_max_position_embeddings", "vocab_size", "pad_token_id"),
)
FIELDS = [
    *(key for key, value in CONFIG.items() if type(value) in (int, float)),
    *OPTIONAL,
    *("bits", "group_size"),
]
NUMBERS = (
    st.integers(-3, 300)
    | st.sampled_from([2**31, 2**32, 2**40, 2**48, 2**64, 10**400, -(10**400)])
    | st.floats()
)
SCALINGS: list[dict[str, Any]] = [
    {"rope_type": "linear", "factor": 2},
    {
        "rope_type": "llama3",
        "factor": 8,
        "low_freq_factor": 1,
        "high_freq_factor": 4,
        "original_max_position_embeddings": 64,
    },
    {"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 64},
    {
        "rope_type": "longrope",
        "short_factor": [1] * 16,
        "long_factor": [2] * 16,
        "original_max_position_embeddings": 64,
    },
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Model().write(tmp_path_factory.mktemp("any") / "model")


def configure(folder: Path, config: dict[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(config))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_numbers_are_repacked_or_refused(folder: Path, data: st.DataObject) -> None:
    config = Model().config
    scaling = data.draw(st.none() | st.sampled_from(SCALINGS))
    if scaling is not None:
        config["rope_scaling"] = dict(scaling)
    for field in data.draw(st.lists(st.sampled_from(FIELDS), min_size=1, max_size=2)):
        place = config["quantization_config"] if field in ("bits", "group_size") else config
        place[field] = data.draw(NUMBERS, label=field)
    if scaling is not None and data.draw(st.booleans()):
        key = data.draw(st.sampled_from(sorted(set(scaling) - {"rope_type"})))
        config["rope_scaling"][key] = data.draw(NUMBERS, label=key)
    configure(folder, config)
    try:
        write_gguf(plan_repack(inspect_model(folder)), folder.parent / "out.gguf")
    except QtoolError as refusal:
        assert refusal.exit_code in (ExitCode.INTEGRITY, ExitCode.ENVIRONMENT)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("head_dim", 7),
        ("head_dim", 64),
        ("head_dim", 2**40),
        ("num_attention_heads", 4),
        ("num_attention_heads", 2**40),
        ("num_key_value_heads", 2),
        ("hidden_size", 32),
        ("intermediate_size", 64),
        ("num_hidden_layers", 1),
        ("num_hidden_layers", 2**40),
        ("max_position_embeddings", 2**40),
        ("rms_norm_eps", 10**400),
    ],
)
def test_a_number_that_the_tensors_contradict_is_named(
    folder: Path, field: str, value: int
) -> None:
    configure(folder, {**Model().config, field: value})
    with pytest.raises(IntegrityError, match=field):
        plan_repack(inspect_model(folder))
