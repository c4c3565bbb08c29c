"""What is decided before anything is loaded; torch is not needed for that."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from qtool.engines.transformers_server import quantized
from qtool.engines.transformers_server.loader import checkpoint_dtype, older_names, read_json
from qtool.engines.transformers_server.quantized import (
    MissingPackage,
    needs_float16,
    quantization_arguments,
)
from qtool.engines.transformers_server.settings import Settings

CPU, GPU = SimpleNamespace(is_cpu=True), SimpleNamespace(is_cpu=False)
GPTQ = {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 64}}
AWQ = {"quantization_config": {"quant_method": "awq", "bits": 4}}
ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 100000.0}}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(model=str(tmp_path), api_key="k")


def has_packages(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(quantized, "find_spec", lambda name: name if name in names else None)


@pytest.mark.parametrize("config", [GPTQ, AWQ])
def test_method_that_nothing_here_loads_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, config: dict[str, object]
):
    has_packages(monkeypatch)
    with pytest.raises(MissingPackage, match="gptqmodel"):
        quantization_arguments(settings, config, CPU)


@pytest.mark.parametrize(("config", "place"), [(GPTQ, CPU), (GPTQ, GPU), (AWQ, CPU), ({}, CPU)])
def test_gptqmodel_needs_to_be_told_nothing(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, config: dict[str, object], place: object
):
    has_packages(monkeypatch, "gptqmodel")
    assert quantization_arguments(settings, config, place) == {}


def test_autoawq_is_refused_on_a_cpu_with_what_would_do(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
):
    has_packages(monkeypatch, "awq")
    assert quantization_arguments(settings, AWQ, GPU) == {}
    with pytest.raises(MissingPackage, match=r"GPU only; gptqmodel"):
        quantization_arguments(settings, AWQ, CPU)


@pytest.mark.parametrize(
    ("packages", "is_needed"), [(("auto_gptq",), True), (("gptqmodel", "auto_gptq"), False)]
)
def test_kernels_that_compute_in_float16_alone_are_known(
    monkeypatch: pytest.MonkeyPatch, packages: tuple[str, ...], is_needed: bool
):
    has_packages(monkeypatch, *packages)
    assert needs_float16(GPTQ) is is_needed
    assert not needs_float16({})


def test_old_gptq_folders_are_known_by_their_own_file(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path
):
    (tmp_path / "quantize_config.json").write_text('{"bits": 4, "group_size": 128}')
    has_packages(monkeypatch)
    with pytest.raises(MissingPackage, match="gptq"):
        quantization_arguments(settings, {}, CPU)


def test_transformers_4_is_told_the_rope_of_5_by_its_older_names():
    assert older_names(ROPE, "4.57.6") == {"rope_theta": 100000.0, "rope_scaling": None}
    assert older_names(ROPE, "5.0.0") == {}
    assert older_names({**ROPE, "rope_theta": 1.0}, "4.40.0") == {"rope_scaling": None}
    assert older_names({}, "4.40.0") == {}


def test_scaled_rope_keeps_its_scaling():
    rope = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e6}
    told = older_names({"rope_parameters": rope}, "4.57.6")
    assert told["rope_scaling"] == {"rope_type": "yarn", "factor": 4.0}


@pytest.mark.parametrize(
    ("config", "dtype"),
    [
        ({"dtype": "bfloat16"}, "bfloat16"),
        ({"torch_dtype": "torch.float16"}, "float16"),
        ({}, None),
    ],
)
def test_float_type_of_a_checkpoint_has_two_names(config: dict[str, str], dtype: str | None):
    assert checkpoint_dtype(config) == dtype


def test_file_that_is_not_there_is_an_empty_object(tmp_path: Path):
    assert read_json(str(tmp_path), "config.json") == {}
