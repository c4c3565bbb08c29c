"""Commands fit the machine: its installer, its shell, its torch index, and each other."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qtool.doctor.commands import Commands, companion, serving_indexes
from qtool.doctor.diagnosis import diagnose
from qtool.doctor.finding import Fix
from qtool.doctor.fixes import gguf, legacy_awq, legacy_gptq, modern
from qtool.doctor.torch_sources import torch_commands, torch_fixes
from qtool.models.info import ModelFormat, ModelInfo
from tests.unit.doctor.machines import (
    RTX_3090,
    RTX_5090,
    T4,
    V100,
    WINDOWS,
    case_of,
    torch,
)
from tests.unit.doctor.test_public_cases import CASES, diagnosis

P40 = {"name": "Tesla P40", "cc": "6.1", "vram_mib": 24576}


def test_uv_installs_where_the_environment_is_uvs() -> None:
    interpreter = {"path": "/my env/bin/python", "installer": "uv"}
    commands = Commands(case_of(interpreter=interpreter))

    assert commands.install("a>=1", "b") == (
        'uv pip install --python "/my env/bin/python" "a>=1" b'
    )
    assert commands.uninstall("a") == 'uv pip uninstall --python "/my env/bin/python" a'


def test_variables_are_set_in_the_systems_own_shell() -> None:
    sh, powershell = Commands(case_of()), Commands(case_of(os=WINDOWS))

    assert sh.with_variables({"A": "-D x"}, "run") == 'A="-D x" run'
    assert powershell.with_variables({"A": "-D x"}, "run") == '$Env:A="-D x"; run'


@pytest.mark.parametrize(
    ("name", "version", "wanted"),
    [
        ("torchvision", "2.0.1", "0.15.2"),
        ("torchvision", "2.3.1+cu121", "0.18.1"),
        ("torchvision", "2.10.0", "0.25.0"),
        ("torchaudio", "2.4.1", "2.4.1"),
        ("torchaudio", "2.14.0", None),
        ("torchvision", "1.13.1", None),
    ],
)
def test_companions_follow_torch(name: str, version: str, wanted: str | None) -> None:
    assert companion(name, version) == wanted


@pytest.mark.parametrize(
    ("gpu", "driver", "first"),
    [
        (RTX_3090, "580.65.06", "cu130"),
        (RTX_3090, "550.54", "cu128"),
        (RTX_3090, "470.1", "cu118"),
        (RTX_5090, "570.1", "cu128"),
        (V100, "580.65.06", "cu128"),
        (P40, "580.65.06", "cu126"),
    ],
)
def test_the_index_serves_gpu_and_driver(gpu: dict[str, Any], driver: str, first: str) -> None:
    assert serving_indexes(case_of(gpus=[gpu], driver=driver))[0].tag == first


@pytest.mark.parametrize(
    ("fields", "first"),
    [
        ({"driver": "580.65.06"}, '"torch>=2.11,<2.15"'),
        ({"driver": "550.54"}, '"torch>=2.8,<2.11"'),
        ({"gpus": [V100], "driver": "580.65.06"}, '"torch>=2.8,<2.11"'),
        # PyPI's wheels for these are older, or none: PyTorch's own index has to serve.
        ({"gpus": [P40], "driver": "580.65.06"}, "whl/cu126"),
        ({"driver": "470.1"}, "whl/cu118"),
        ({"os": WINDOWS, "driver": "566.3"}, "whl/cu128"),
        ({"gpus": [], "driver": None}, "whl/cpu"),
        ({"gpus": [], "driver": None, "os": {"system": "Darwin", "arch": "arm64"}}, '"torch>=2.0"'),
    ],
)
def test_torch_comes_from_the_users_own_index_where_it_has_the_right_one(
    fields: dict[str, Any], first: str
) -> None:
    (command,) = torch_commands(case_of(**fields), ">=2.0")

    assert command.endswith(first)


def test_without_a_gpu_pypi_serves_where_pytorchs_index_is_slow() -> None:
    _, other = torch_fixes(case_of(gpus=[], driver=None), ">=2.0", "torch")

    assert commands(other).endswith('install "torch>=2.0"')


def test_an_index_that_does_not_answer_is_left_out_of_every_cure() -> None:
    case = case_of("gptq", gpus=[], driver=None)
    gone = replace(case, unreachable=frozenset({"https://download.pytorch.org/whl/cpu"}))

    with_index, without = (
        "\n".join(command for f in diagnose(one) for fix in f.fixes for command in fix.commands)
        for one in (case, gone)
    )

    assert "--index-url https://download.pytorch.org/whl/cpu" in with_index
    assert "--index-url" not in without
    assert "gptqmodel>=7" in without


def test_a_mirror_of_pytorchs_index_takes_its_place() -> None:
    fields = {"gpus": [], "driver": None}
    mirror = {"QTOOL_TORCH_INDEX": "https://mirror.example/whl"}

    (plain,) = diagnose(case_of("plain", **fields))
    (mirrored,) = diagnose(case_of("plain", env_vars=mirror, **fields))

    assert "QTOOL_TORCH_INDEX=URL" in plain.fixes[0].title
    assert "--index-url https://mirror.example/whl/cpu" in commands(mirrored.fixes[0])
    assert "QTOOL_TORCH_INDEX" not in mirrored.fixes[0].title


@pytest.mark.parametrize(
    ("python", "first"),
    [
        ("3.9.19", '"torch>=2.8,<2.11"'),  # 2.8 is the last for 3.9
        ("3.8.18", '"torch>=2.1,<2.5"'),
        ("3.14.1", '"torch>=2.11,<2.15"'),
    ],
)
def test_torch_comes_from_where_it_has_wheels_for_the_python(python: str, first: str) -> None:
    fixes = torch_fixes(case_of(python=python, driver="580.65.06"), ">=2.0", "torch")

    assert commands(fixes[0]).endswith(first)


def test_no_torch_is_offered_for_a_python_without_wheels() -> None:
    assert torch_fixes(case_of(python="3.16.0"), ">=2.0", "torch") == ()
    assert torch_fixes(case_of(python="3.13.1"), ">=2.2.2,<2.2.3", "torch") == ()


def test_no_index_serves_blackwell_with_a_cuda_11_driver() -> None:
    assert serving_indexes(case_of(gpus=[RTX_5090], driver="470.1")) == ()


def test_torch_comes_with_its_companions_and_numpy() -> None:
    dists = {"torch": "2.5.1", "torchvision": "0.20.1", "torchaudio": "2.5.1"}

    commands = Commands(case_of(dists=dists)).install_torch("2.2.2", "cu121")

    assert "uninstall -y torch torchvision torchaudio" in commands[0]
    assert "torch==2.2.2 torchvision==0.17.2 torchaudio==2.2.2" in commands[1]
    assert "numpy<2" in commands[2]


def test_a_vendors_torch_is_never_replaced() -> None:
    case = case_of(dists={"torch": "2.5.0a0+nv24.8"}, torch=torch("2.5.0a0"))

    assert torch_fixes(case, ">=2.0", "") == ()
    assert (modern(case), legacy_gptq(case), legacy_awq(case)) == (None, None, None)


def commands(fix: Fix | None) -> str:
    assert fix is not None
    return "\n".join(fix.commands)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/m/Llama-2-13B-chat-GPTQ", "Llama-2-13B-chat"),
        ("/m/Mistral-7B-Instruct-v0.3-AWQ-INT4", "Mistral-7B-Instruct-v0.3"),
        ("/m/SmolLM2-135M-Instruct-Q4_K_M.gguf", "SmolLM2-135M-Instruct"),
        ("/m/model-iq2_xs.gguf", "MODEL"),  # hubs know none of that name
        ("/m/my model", "MODEL"),
        ("/m/my 7B", '"my 7B"'),
    ],
)
def test_a_gguf_is_looked_for_by_the_models_own_name(path: str, name: str) -> None:
    info = ModelInfo(path=Path(path), format=ModelFormat.GPTQ)

    first, *_ = gguf(replace(case_of(), model=info)).commands

    assert first == f"qtool find {name} --format gguf"


def test_a_gguf_is_looked_for_by_the_repository_that_a_folder_is_from() -> None:
    info = ModelInfo(path=Path("/m/mine"), format=ModelFormat.GPTQ)

    first, *_ = gguf(replace(case_of(), model=info, model_origin="org/base")).commands

    assert first == "qtool find org/base --format gguf"


def test_a_gguf_of_a_repository_is_looked_for_by_the_repository() -> None:
    case = next(case for case in CASES if case["id"] == "C44")
    commands = [c for f in diagnosis(case) for fix in f.fixes for c in fix.commands]

    assert "qtool find TheBloke/Llama-2-13B-chat-GPTQ --format gguf" in commands


def test_profiles_do_not_mix() -> None:
    case = case_of(dists={"torch": "2.3.1", "auto-gptq": "0.7.1", "numpy": "1.26.4"},
                   torch=torch("2.3.1"))  # fmt: skip

    assert "numpy<2" not in commands(modern(case))
    assert "uninstall -y auto-gptq" in commands(modern(case))
    assert "gptqmodel" not in commands(legacy_gptq(case))


@pytest.mark.parametrize(
    ("gpu", "spec"), [(T4, "autoawq[kernels]==0.2.7.post2"), (RTX_3090, "autoawq==0.2.9")]
)
def test_the_legacy_autoawq_follows_the_gpu(gpu: dict[str, Any], spec: str) -> None:
    text = commands(legacy_awq(case_of(gpus=[gpu])))

    assert spec in text
    assert "autoawq-kernels==0.0.9" in text
    assert re.search(r"torch>=2\.6,<2\.7", text)


@pytest.mark.parametrize("gpu", [RTX_5090, P40])
def test_no_legacy_autoawq_where_nothing_of_it_runs(gpu: dict[str, Any]) -> None:
    assert legacy_awq(case_of(gpus=[gpu])) is None


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_no_fix_removes_in_the_end_what_it_installed(case: dict[str, Any]) -> None:
    for finding in diagnosis(case):
        for fix in finding.fixes:
            installed: set[str] = set()
            for command in fix.commands:
                _, verb, arguments = re.split(r"\b(uninstall|install)\b", f"{command} install")[:3]
                names = {re.split(r"[=<>\[]", word.strip('"'))[0] for word in arguments.split()}
                if verb == "uninstall":
                    assert not installed & (names - {"-y"}), fix
                installed |= names if verb == "install" else set()


def test_diagnosing_again_after_the_cure_finds_nothing() -> None:
    """The cure of a torch without the GPU's code, applied to the snapshot by hand."""
    before = case_of("plain", gpus=[RTX_5090], dists={"torch": "2.6.0"}, torch=torch("2.6.0"),
                     driver="570.1")  # fmt: skip
    (finding,) = diagnose(before)
    assert "torch>=2.8,<2.11" in commands(finding.fixes[0])
    assert "whl/cu128" in commands(finding.fixes[1])

    after = case_of("plain", gpus=[RTX_5090], dists={"torch": "2.10.0+cu128"}, driver="570.1",
                    torch=torch("2.10.0+cu128", "12.8", ["sm_90", "sm_100", "sm_120"]))  # fmt: skip
    assert diagnose(after) == ()
