"""What the description of a model says about a repack."""

from dataclasses import replace
from pathlib import Path

import pytest

from qtool.engines.repack.architectures import ARCHITECTURES
from qtool.models.info import ModelFormat, ModelInfo, Quantization
from qtool.models.repackable import REPACKED_ARCHITECTURES, Layout, find_layout, find_obstacle

GPTQ = Quantization("gptq", "config.json", bits=4, group_size=128, is_act_order=False)
AWQ = Quantization("awq", "config.json", bits=4, group_size=128, version="gemm")


def info(quantization: Quantization, architecture: str | None = "LlamaForCausalLM") -> ModelInfo:
    form = ModelFormat(quantization.method)
    return ModelInfo(Path("m"), form, quantization, architecture)


def test_the_architectures_are_those_that_the_engine_knows() -> None:
    assert set(REPACKED_ARCHITECTURES) == set(ARCHITECTURES)


@pytest.mark.parametrize(
    ("quantization", "layout"),
    [
        (GPTQ, Layout.GPTQ),
        (replace(GPTQ, checkpoint_format="gptq"), Layout.GPTQ),
        (replace(GPTQ, checkpoint_format="gptq_v2"), Layout.GPTQ_V2),
        (replace(GPTQ, checkpoint_format="marlin"), None),
        (AWQ, Layout.AWQ_GEMM),
        (replace(AWQ, version=None), Layout.AWQ_GEMM),
        (replace(AWQ, version="gemv"), Layout.AWQ_GEMV),
        (replace(AWQ, version="gemv_fast"), Layout.AWQ_GEMV_FAST),
        (replace(AWQ, version="ipex"), None),
        (Quantization("fp8", "config.json"), None),
    ],
)
def test_layouts_are_known_by_their_names(
    quantization: Quantization, layout: Layout | None
) -> None:
    assert find_layout(info(quantization)) is layout


@pytest.mark.parametrize(
    "quantization",
    [GPTQ, AWQ, replace(GPTQ, bits=8), replace(GPTQ, group_size=-1), replace(GPTQ, group_size=32)],
)
def test_nothing_speaks_against_the_usual(quantization: Quantization) -> None:
    assert find_obstacle(info(quantization)) is None


@pytest.mark.parametrize(
    ("quantization", "obstacle"),
    [
        (replace(GPTQ, is_act_order=True), "act-order"),
        (replace(GPTQ, bits=3), "3 bits"),
        (replace(GPTQ, group_size=16), "group size of 16"),
        (replace(AWQ, version="ipex"), "'ipex'"),
        (Quantization("bitsandbytes", "config.json"), "bitsandbytes"),
    ],
)
def test_an_obstacle_is_named(quantization: Quantization, obstacle: str) -> None:
    assert obstacle in (find_obstacle(info(quantization)) or "")


def test_an_unknown_architecture_is_named() -> None:
    assert "MambaForCausalLM" in (find_obstacle(info(GPTQ, "MambaForCausalLM")) or "")
