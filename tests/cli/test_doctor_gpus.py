"""``qtool doctor`` from end to end on GPUs of a stub NVML: findings, verdict, and the pin."""

import json
import venv
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run
from tests.stubs.nvml import B200, RTX_4090, T4, V100, NvmlEnviron, nvml_environ, nvml_library

__all__ = ["nvml_environ", "nvml_library"]

DRIVER = "580.65.06"
T4_PIN = "autoawq==0.2.7.post2 'autoawq[kernels]==0.2.7.post2'"
MISMATCH = "error:18"  # NVML_ERROR_LIB_RM_VERSION_MISMATCH
LEGACY = {
    "transformers": "4.51.3",
    "accelerate": "1.3.0",
    "autoawq": "0.2.9",
    "autoawq_kernels": "0.0.9",
}
MODERN = {
    "transformers": "5.23.0",
    "accelerate": "1.15.0",
    "optimum": "2.3.0",
    "gptqmodel": "7.6.0",
}
MODULES = {"autoawq_kernels": "awq_ext.cpython-311-x86_64-linux-gnu.so,,\n"}


def make_environment(folder: Path, torch: str, cuda: str, archs: str, dists: dict) -> Path:
    """Make an environment with a torch as its files show it, and distributions by name."""
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python3*/site-packages")
    for name, version in {"torch": torch, **dists}.items():
        info = site / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n\n")
        (info / "RECORD").write_text(MODULES.get(name, "") + f"{name}/__init__.py,,\n")
    (site / "torch/lib").mkdir(parents=True)
    text = f"__version__ = '{torch}'\ncuda = '{cuda}'\n"
    (site / "torch/version.py").write_text(text)
    (site / "torch/lib/libtorch_python.so").write_bytes(b"\0" + archs.encode() + b"\0")
    return folder


@pytest.fixture(scope="module")
def legacy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return torch 2.6 with autoawq and its kernels, whose newest code is for 9.0."""
    archs = "sm_50 sm_60 sm_70 sm_75 sm_80 sm_86 sm_90"
    folder = tmp_path_factory.mktemp("legacy")
    return make_environment(folder, "2.6.0+cu124", "12.4", archs, LEGACY)


@pytest.fixture(scope="module")
def modern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return torch 2.9 for CUDA 12.8 with transformers 5 and gptqmodel."""
    archs = "sm_70 sm_75 sm_80 sm_86 sm_90 sm_100 sm_120"
    folder = tmp_path_factory.mktemp("modern")
    return make_environment(folder, "2.9.1+cu128", "12.8", archs, MODERN)


def examine(
    run_qtool: Run, environ: dict[str, str], env: Path, goal: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return doctor's document and its findings' severities by code."""
    result = run_qtool("doctor", "--python", str(env), "--goal", goal, "--json", env=environ)
    document = json.loads(result.stdout)
    codes = {finding["code"]: finding["severity"] for finding in document["findings"]}
    assert result.returncode == (1 if document["goal"]["runs"] is False else 0)
    return document, codes


def notes(document: dict[str, Any]) -> str:
    return " ".join(document["verdict"]["awq"]["notes"])


def test_a_t4_runs_awq_without_flash_attn_and_is_told_its_pin(
    run_qtool: Run, nvml_environ: NvmlEnviron, legacy: Path
) -> None:
    document, codes = examine(run_qtool, nvml_environ(DRIVER, T4), legacy, "awq")

    assert "error" not in codes.values()
    assert codes["AWQ-EXTRA-NEEDS-FLASH-ATTN"] == "info"
    verdict = document["verdict"]["awq"]
    assert (verdict["runs"], verdict["device"], verdict["kernel"]) == (True, "cuda", "awq_ext")
    assert T4_PIN in notes(document)


def test_a_t4_is_refused_flash_attn(
    run_qtool: Run, nvml_environ: NvmlEnviron, modern: Path
) -> None:
    document, codes = examine(run_qtool, nvml_environ(DRIVER, T4), modern, "flash-attn")

    assert codes["FA-CC-TOO-LOW"] == "error"
    assert "the Tesla T4 has 7.5" in document["goal"]["why"]


def test_a_v100_has_no_awq_kernel_whatever_the_pin(
    run_qtool: Run, nvml_environ: NvmlEnviron, legacy: Path
) -> None:
    document, codes = examine(run_qtool, nvml_environ(DRIVER, V100), legacy, "awq")

    assert codes["AWQ-NO-BLACKWELL-KERNELS"] == "error"
    assert document["verdict"]["awq"]["runs"] is False
    assert "whatever the pin" in notes(document)
    assert T4_PIN not in notes(document)


def test_a_v100_runs_gptq_through_gptqmodel_but_not_marlin(
    run_qtool: Run, nvml_environ: NvmlEnviron, modern: Path
) -> None:
    document, codes = examine(run_qtool, nvml_environ(DRIVER, V100), modern, "gptq")

    assert "error" not in codes.values()
    verdict = document["verdict"]["gptq"]
    assert (verdict["runs"], verdict["device"]) == (True, "cuda")
    assert document["snapshot"]["gpus"] == [
        {"name": "Tesla V100-SXM2-16GB", "cc": "7.0", "vram_mib": 16384, "vram_free_mib": 15872}
    ]


def test_a_4090_supports_flash_attn_so_any_autoawq_does(
    run_qtool: Run, nvml_environ: NvmlEnviron, legacy: Path
) -> None:
    document, codes = examine(run_qtool, nvml_environ(DRIVER, RTX_4090), legacy, "awq")

    assert "error" not in codes.values()
    assert document["verdict"]["awq"]["kernel"] == "awq_ext"
    assert "supports flash-attn, so any autoawq does" in notes(document)


def test_a_b200_is_newer_than_an_old_torch_and_than_autoawq(
    run_qtool: Run, nvml_environ: NvmlEnviron, legacy: Path
) -> None:
    document, codes = examine(run_qtool, nvml_environ(DRIVER, B200), legacy, "awq")

    assert codes["GPU-NEWER-THAN-TORCH"] == codes["AWQ-NO-BLACKWELL-KERNELS"] == "error"
    assert document["verdict"]["awq"]["runs"] is False
    assert "AWQ runs through gptqmodel" in notes(document)


def test_a_b200_runs_awq_through_gptqmodel(
    run_qtool: Run, nvml_environ: NvmlEnviron, modern: Path
) -> None:
    document, codes = examine(run_qtool, nvml_environ(DRIVER, B200), modern, "awq")

    assert "error" not in codes.values()
    assert document["verdict"]["awq"]["device"] == "cuda"
    assert "supports flash-attn 2.7.3 or newer" in notes(document)


def test_of_two_different_gpus_each_gets_its_answer(
    run_qtool: Run, nvml_environ: NvmlEnviron, legacy: Path
) -> None:
    document, codes = examine(run_qtool, nvml_environ(DRIVER, RTX_4090, T4), legacy, "awq")

    assert [gpu["cc"] for gpu in document["snapshot"]["gpus"]] == ["8.9", "7.5"]
    answers = document["verdict"]["awq"]["notes"]
    assert "RTX 4090" in answers[0] and "any autoawq does" in answers[0]
    assert "Tesla T4" in answers[1] and T4_PIN in answers[1]
    assert "error" not in codes.values()


def test_two_different_gpus_are_both_named(
    run_qtool: Run, nvml_environ: NvmlEnviron, modern: Path
) -> None:
    environ = nvml_environ(DRIVER, RTX_4090, T4)
    result = run_qtool("doctor", "--python", str(modern), env=environ)

    assert "NVIDIA GeForce RTX 4090 8.9, Tesla T4 7.5" in result.stdout


def test_a_driver_whose_halves_differ_is_the_first_thing_said(
    run_qtool: Run, nvml_environ: NvmlEnviron, modern: Path
) -> None:
    document, codes = examine(run_qtool, nvml_environ(MISMATCH), modern, "gptq")

    assert codes["NVML-MISMATCH"] == "error"
    assert "mismatch" in document["snapshot"]["nvml_error"]
    assert "gpus" not in document["snapshot"]  # unknown, not none
    why = document["verdict"]["gptq"]["why"]
    assert "there is no NVIDIA GPU" not in why
    (finding,) = [one for one in document["findings"] if one["code"] == "NVML-MISMATCH"]
    assert "reboot" in json.dumps(finding["fixes"])


def test_a_driver_without_a_gpu_computes_on_the_cpu(
    run_qtool: Run, nvml_environ: NvmlEnviron, modern: Path
) -> None:
    document, codes = examine(run_qtool, nvml_environ(DRIVER), modern, "gptq")

    assert document["snapshot"]["gpus"] == []
    assert document["snapshot"]["driver"] == DRIVER
    verdict = document["verdict"]["gptq"]
    assert (verdict["runs"], verdict["device"]) == (True, "cpu")
    assert verdict["why"].endswith("on the CPU")
    assert "error" not in codes.values()


def test_a_driver_older_than_torchs_cuda_leaves_the_gpu_idle(
    run_qtool: Run, nvml_environ: NvmlEnviron, legacy: Path
) -> None:
    document, codes = examine(run_qtool, nvml_environ("470.82.01", T4), legacy, "awq")

    assert codes["DRV-TOO-OLD-FOR-CUDA-MAJOR"] == "error"
    assert document["verdict"]["awq"]["runs"] is False


def test_gpus_that_an_empty_variable_hides_are_reported(
    run_qtool: Run, nvml_environ: NvmlEnviron, modern: Path
) -> None:
    environ = {**nvml_environ(DRIVER, T4), "CUDA_VISIBLE_DEVICES": ""}
    document, codes = examine(run_qtool, environ, modern, "gptq")

    assert codes["GPU-HIDDEN"] == "warning"
    assert document["verdict"]["gptq"]["device"] == "cpu"
