"""Rules about what surrounds the packages, and about what a model brings along."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qtool.doctor.case import Case
from qtool.doctor.diagnosis import diagnose
from qtool.doctor.finding import Finding
from qtool.models.info import ModelFormat, ModelInfo, Quantization
from tests.unit.doctor.machines import RTX_3090, T4, case_of, commands_of, findings_of, torch

NO_GPU: dict[str, Any] = {"gpus": [], "driver": None}
TORCH_4: dict[str, Any] = {
    "dists": {"torch": "2.6.0+cpu", "transformers": "4.51.3"},
    "torch": torch("2.6.0+cpu", None),
}


def with_model(case: Case, **fields: Any) -> dict[str, Finding]:
    info = ModelInfo(
        path=Path("/m/model"), format=fields.pop("format", ModelFormat.PLAIN),
        files=(Path("/m/model/model.safetensors"),),
        **{"has_chat_template": True, **fields},
    )  # fmt: skip
    return {one.code: one for one in diagnose(replace(case, model=info))}


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("", []),
        ("-1", []),
        ("0", ["Tesla T4"]),
        ("1,0", ["NVIDIA GeForce RTX 3090", "Tesla T4"]),
        ("1,7,0", ["NVIDIA GeForce RTX 3090"]),
        ("1, 1", ["NVIDIA GeForce RTX 3090"]),
        ("GPU-8932f937", ["Tesla T4", "NVIDIA GeForce RTX 3090"]),
        ("9999999999999999999999", []),
        ("²", []),
        ("x,y", ["Tesla T4", "NVIDIA GeForce RTX 3090"]),
    ],
)
def test_programs_see_the_gpus_that_cuda_leaves_them(value: str, names: list[str]) -> None:
    case = case_of(gpus=[T4, RTX_3090], env_vars={"CUDA_VISIBLE_DEVICES": value})

    assert [gpu.name for gpu in case.gpus] == names
    assert case.has_no_gpu is (not names)


def test_hidden_gpus_are_told_where_one_is_wanted() -> None:
    hidden = {"env_vars": {"CUDA_VISIBLE_DEVICES": ""}}

    assert findings_of("gptq", **hidden)["GPU-HIDDEN"].severity == "warning"
    assert "GPU-HIDDEN" not in findings_of("build", **hidden)
    assert "GPU-HIDDEN" not in findings_of("gptq", **hidden, **NO_GPU)


def test_runtimes_of_one_cuda_are_as_they_should_be() -> None:
    dists = {"torch": "2.4.1", "nvidia-cublas-cu12": "12.1", "nvidia-cudnn-cu12": "9.1"}

    assert findings_of("plain", dists=dists, torch=torch("2.4.1+cu121")) == {}


@pytest.mark.parametrize(
    ("path", "is_told"),
    [
        ("/usr/local/cuda-11.8/lib64", True),
        ("/usr/local/cuda-12.0/targets/x86_64-linux/lib", True),
        ("/usr/local/cuda-12.4/lib64", False),
        ("/usr/local/cuda/lib64:/opt/lib", False),
        ("", False),
    ],
)
def test_only_an_older_cuda_in_the_library_path_is_in_the_way(path: str, is_told: bool) -> None:
    found = findings_of("plain", dists={"torch": "2.5.1+cu121"}, torch=torch("2.5.1+cu121"),
                        env_vars={"LD_LIBRARY_PATH": path})  # fmt: skip

    assert ("LD-LIBRARY-PATH-CUDA" in found) is is_told


@pytest.mark.parametrize(
    ("name", "version", "is_told"),
    [("TokenizersBackend", "4.51.3", True), ("TokenizersBackendFast", "4.57.6", True),
     ("TokenizersBackend", "5.5.0", False), ("LlamaTokenizer", "4.51.3", False)],
)  # fmt: skip
def test_a_tokenizer_of_transformers_5_is_not_for_4(name: str, version: str, is_told: bool) -> None:
    fields = {**TORCH_4, "dists": {**TORCH_4["dists"], "transformers": version}}

    found = with_model(case_of("plain", **fields, **NO_GPU), tokenizer_class=name)

    assert ("TOKENIZER-NEEDS-TRANSFORMERS-5" in found) is is_told


def test_a_missing_chat_template_is_information() -> None:
    case = case_of("plain", **TORCH_4, **NO_GPU)

    assert with_model(case, has_chat_template=False)["CHAT-TEMPLATE-MISSING"].severity == "info"
    assert "CHAT-TEMPLATE-MISSING" not in with_model(case)


@pytest.mark.parametrize(
    ("bits", "group", "is_told"),
    [(4, 128, False), (4, 1024, False), (4, 40, True), (3, 128, False), (8, 32, True)],
)
def test_what_no_fast_cpu_kernel_has_is_told(bits: int, group: int, is_told: bool) -> None:
    dists = {"torch": "2.10.0", "transformers": "5.14.0", "gptqmodel": "7.0.0", "optimum": "2.3.0"}
    case = case_of("gptq", dists=dists, torch=torch("2.10.0+cpu", None), **NO_GPU)
    quantization = Quantization("gptq", "config.json", bits=bits, group_size=group)

    found = with_model(case, format=ModelFormat.GPTQ, quantization=quantization)

    assert ("GPTQ-NO-FAST-CPU-KERNEL" in found) is is_told


def test_gptqmodel_needs_a_compiler_where_it_would_be_installed() -> None:
    found = findings_of("gptq", compiler=None, **NO_GPU)

    assert "build-essential" in commands_of(found["GPTQMODEL-NEEDS-COMPILER"])
    assert "GPTQMODEL-NEEDS-COMPILER" not in findings_of("gptq", compiler="g++", **NO_GPU)
    assert "GPTQMODEL-NEEDS-COMPILER" not in findings_of("gptq", **NO_GPU)  # nobody looked


@pytest.mark.parametrize("goal", ["gptq", "awq"])
def test_where_llama_cpp_runs_most_models_a_compiler_is_information(goal: str) -> None:
    found = findings_of(goal, compiler=None, llama_cpp="xllamacpp", **NO_GPU)

    assert found["GPTQMODEL-NEEDS-COMPILER"].severity == "info"
    assert (
        findings_of(goal, compiler=None, llama_cpp=None, **NO_GPU)[
            "GPTQMODEL-NEEDS-COMPILER"
        ].severity
        == "warning"
    )


@pytest.mark.parametrize(
    ("python", "is_told"),
    [("3.7.17", True), ("3.8.18", False), ("3.14.0", False), ("3.16.0", True), ("x", False)],
)
def test_torch_has_wheels_for_some_pythons(python: str, is_told: bool) -> None:
    found = findings_of("plain", python=python, **NO_GPU)

    assert ("TORCH-NO-WHEEL-FOR-PYTHON" in found) is is_told
    assert ("TORCH-MISSING" in found) is not is_told


@pytest.mark.parametrize(
    ("archs", "is_told"), [("8.6", True), ("7.0 7.5", False), ("7.0+PTX", False), ("Turing", False)]
)
def test_a_list_of_architectures_has_to_name_the_gpu(archs: str, is_told: bool) -> None:
    found = findings_of("build", gpus=[T4], dists={"torch": "2.6.0"}, torch=torch("2.6.0"),
                        nvcc="12.1", env_vars={"TORCH_CUDA_ARCH_LIST": archs})  # fmt: skip

    assert ("BUILD-ARCH-LIST" in found) is is_told


def test_a_torch_without_the_kernel_leaves_odd_groups_to_gptqmodel() -> None:
    dists = {"torch": "2.4.1", "transformers": "4.49.0", "gptqmodel": "2.2.0", "optimum": "1.24.0"}
    case = case_of("gptq", dists=dists, torch=torch("2.4.1+cpu", None), **NO_GPU)
    quantization = Quantization("gptq", "config.json", bits=4, group_size=1024)

    found = with_model(case, format=ModelFormat.GPTQ, quantization=quantization)

    assert "within minutes" in found["GPTQ-NO-FAST-CPU-KERNEL"].explanation
