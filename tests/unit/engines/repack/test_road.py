"""Which models go through a repack."""

from pathlib import Path

import pytest

from qtool.engines.base import EngineKind, EngineOptions
from qtool.engines.repack import road
from qtool.engines.repack.road import wants_repack
from qtool.models.info import ModelFormat, ModelInfo

CPU = EngineOptions()


def info(form: ModelFormat = ModelFormat.GPTQ) -> ModelInfo:
    return ModelInfo(Path("m"), form)


@pytest.fixture(params=[False, True], ids=["cpu", "gpu"])
def has_gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(road, "has_nvidia_gpu", lambda environ: bool(request.param))
    return bool(request.param)


@pytest.mark.parametrize("form", list(ModelFormat))
def test_gptq_and_awq_are_repacked_where_there_is_no_gpu(form: ModelFormat, has_gpu: bool) -> None:
    wants = wants_repack(info(form), EngineKind.AUTO, CPU, None)
    assert wants is (form in (ModelFormat.GPTQ, ModelFormat.AWQ) and not has_gpu)


def test_a_gpu_that_is_not_to_be_used_is_none(has_gpu: bool) -> None:
    assert wants_repack(info(), EngineKind.AUTO, EngineOptions(n_gpu_layers=0), None)


def test_the_engine_that_is_asked_for_decides(has_gpu: bool) -> None:
    assert wants_repack(info(), EngineKind.LLAMA_CPP, CPU, None)
    assert not wants_repack(info(), EngineKind.TRANSFORMERS, CPU, None)


def test_an_environment_by_name_means_an_engine_in_it(has_gpu: bool) -> None:
    assert not wants_repack(info(), EngineKind.AUTO, CPU, "/venv")
