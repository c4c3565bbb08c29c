"""What doctor says runs, ``qtool chat`` does not refuse: both look at the same packages."""

from dataclasses import replace
from pathlib import Path

import pytest

from qtool.doctor.verdict import judge
from qtool.engines.interpreters import EnginePython
from qtool.engines.select import select_engine
from qtool.models.info import AttentionShape, ModelFormat, ModelInfo, Quantization
from tests.unit.doctor.machines import GPTQ_MODULES, RTX_3090, case_of, torch

EXTRAS = (
    {},
    {"gptqmodel": "7.0.0", "optimum": "2.3.0"},
    {"auto-gptq": "0.7.1", "optimum": "1.23.3"},
    {"autoawq": "0.2.9"},
    {"bitsandbytes": "0.49.2"},
    {"bitsandbytes": "0.49.2", "accelerate": "1.10.0"},
    {"compressed-tensors": "0.12.0"},
    {"vllm": "0.20.0"},
)
FORMATS = (
    *(ModelFormat.PLAIN, ModelFormat.GPTQ, ModelFormat.AWQ, ModelFormat.BITSANDBYTES),
    *(ModelFormat.COMPRESSED_TENSORS, ModelFormat.FP8),
)


def model(form: ModelFormat) -> ModelInfo:
    is_plain = form is ModelFormat.PLAIN
    packed = Quantization(form.value, "config.json", bits=4, group_size=128)
    return ModelInfo(
        path=Path("/m"),
        format=form,
        weights_bytes=2**30,
        n_params=2**31,
        architecture="LlamaForCausalLM",
        attention=AttentionShape(n_layers=2, n_kv_heads=2, head_dim=64),
        quantization=None if is_plain else packed,
    )


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("gpus", [[RTX_3090], []], ids=["gpu", "cpu"])
@pytest.mark.parametrize("transformers", ["4.30.0", "4.57.1", "5.14.0", None])
@pytest.mark.parametrize("version", ["2.10.0+cu128", "2.2.2+cu121", None])
def test_what_doctor_says_runs_chat_does_not_refuse(
    form: ModelFormat, gpus: list, transformers: str | None, version: str | None
) -> None:
    base = {"torch": version, "transformers": transformers}
    for extra in EXTRAS:
        dists = {**{name: it for name, it in base.items() if it}, **extra}
        case = case_of(
            None, dists=dists, gpus=gpus, llama_cpp=None, ram_bytes=2**36, driver="570.86.15",
            ext_files={"auto-gptq": GPTQ_MODULES} if "auto-gptq" in extra else {},
            torch=torch(version, "12.8", ["sm_86"]) if version else None,
        )  # fmt: skip
        info = model(form)
        if judge(replace(case, model=info))[form.value].runs:
            python = EnginePython("/env/bin/python", "a test", dists)
            assert select_engine(info, python=python, has_gpu=bool(gpus)).why


@pytest.mark.parametrize("form", [ModelFormat.COMPRESSED_TENSORS, ModelFormat.FP8])
def test_formats_that_transformers_reads_run_by_it(form: ModelFormat) -> None:
    dists = {"torch": "2.10.0+cu128", "transformers": "5.14.0"}
    case = case_of(None, dists=dists, torch=torch("2.10.0+cu128", "12.8", ["sm_86"]))
    verdict = judge(replace(case, model=model(form)))[form.value]
    with_package = replace(case.snapshot, dists={**dists, "compressed-tensors": "0.12.0"})

    assert verdict.runs is (form is ModelFormat.FP8)
    assert judge(replace(case, snapshot=with_package, model=model(form)))[form.value].runs


@pytest.mark.parametrize(
    ("gpus", "bytes_a_weight"), [([], 2), ([RTX_3090], 2), ([{**RTX_3090, "cc": "8.9"}], 0.5)]
)
def test_fp8_is_written_out_where_nothing_multiplies_by_it(
    gpus: list, bytes_a_weight: float
) -> None:
    dists = {"torch": "2.10.0+cu128", "transformers": "5.14.0"}
    case = case_of(None, dists=dists, torch=torch("2.10.0+cu128", "12.8", ["sm_86"]), gpus=gpus)
    fit = judge(replace(case, model=model(ModelFormat.FP8)))["fp8"].fit

    assert fit is not None
    assert fit.need.weights_bytes == bytes_a_weight * 2**31
