"""Rules about the machine around the environment: conda beside pip, WSL 1, an idle AMD GPU."""

import pytest

from qtool.doctor.finding import Severity
from qtool.doctor.machine_words import machine_words
from tests.unit.doctor.machines import LINUX, case_of, commands_of, findings_of

AMD = {"vendor": "AMD", "name": "navi31", "arch": "gfx1100"}


def test_what_pip_has_replaced_behind_condas_back_is_reported_with_both_versions() -> None:
    found = findings_of(
        conda={"numpy": "1.26.4", "python": "3.10.14", "pytorch": "2.2.2", "tqdm": "4.0"},
        dists={"numpy": "2.2.6", "torch": "2.2.2+cu121", "tqdm": "4.0"},
    )

    finding = found["CONDA-PIP-MIXED"]
    assert finding.severity is Severity.WARNING
    assert finding.evidence == ("numpy: 1.26.4 in conda-meta, 2.2.6 in site-packages",)
    remove, install = finding.fixes[0].commands
    assert remove == "conda remove --force -y numpy"
    assert install.endswith("--force-reinstall --no-deps numpy==2.2.6")


def test_condas_own_name_of_torch_is_the_one_it_is_removed_by() -> None:
    found = findings_of(conda={"pytorch": "2.2.2"}, dists={"torch": "2.9.1"})

    assert found["CONDA-PIP-MIXED"].fixes[0].commands[0].endswith("pytorch")


def test_a_package_that_nothing_here_depends_on_is_left_alone() -> None:
    assert "CONDA-PIP-MIXED" not in findings_of(conda={"tqdm": "4.0"}, dists={"tqdm": "4.1"})


def test_one_installer_alone_is_fine() -> None:
    conda = {"numpy": "1.26.4"}

    assert "CONDA-PIP-MIXED" not in findings_of(conda=conda, dists={"numpy": "1.26.4"})
    assert "CONDA-PIP-MIXED" not in findings_of(conda=None, dists={"numpy": "1.26.4"})
    assert "CONDA-PIP-MIXED" not in findings_of(conda=conda, dists={"torch": "2.2.2"})


def test_wsl_1_has_no_gpu_and_wsl_2_has() -> None:
    one = findings_of("gptq", os={**LINUX, "wsl": True, "wsl_version": 1}, gpus=[])
    two = findings_of("gptq", os={**LINUX, "wsl": True, "wsl_version": 2}, gpus=[])

    assert one["WSL-1-NO-GPU"].fixes[0].commands == ("wsl --set-version Ubuntu 2",)
    assert "WSL-1-NO-GPU" not in two


def test_an_amd_gpu_that_torch_does_not_use_is_information() -> None:
    cpu, rocm = {"version": "2.9.0", "cuda": None}, {"version": "2.9.0+rocm6.4", "hip": "6.4"}

    idle = findings_of("plain", accelerators=[AMD], gpus=[], torch=cpu)
    used = findings_of("plain", accelerators=[AMD], gpus=[], torch={**rocm, "cuda": None})

    assert idle["TORCH-NOT-FOR-AMD"].severity is Severity.INFO
    assert "TORCH-NOT-FOR-AMD" not in used


def test_the_summary_names_other_makers_gpus_that_compute() -> None:
    apple = {"vendor": "Apple", "name": "Apple M3 Max", "arch": "Metal"}
    screen = {"vendor": "Intel", "name": "Intel GPU 56a0"}
    case = case_of(gpus=[], accelerators=[AMD, apple, screen])

    assert machine_words(case).endswith("no torch, no NVIDIA GPU, AMD navi31, Apple M3 Max")


@pytest.mark.parametrize(
    ("wish", "version", "severity"),
    [("all", None, "warning"), (None, "2.9.1+cu128", "info"), ("void", None, None)],
)
def test_a_container_without_the_gpu_it_is_made_for(
    wish: str | None, version: str | None, severity: str | None
) -> None:
    found = findings_of(
        "plain",
        os={"system": "Linux", "arch": "x86_64", "container": "docker"},
        gpus=[],
        driver=None,
        dists={"torch": version} if version else {},
        torch={"version": version, "cuda": "12.8"} if version else None,
        env_vars={"NVIDIA_VISIBLE_DEVICES": wish} if wish else {},
    ).get("CONTAINER-NO-GPU")

    assert (found and found.severity) == severity
    assert found is None or "docker run --gpus all" in commands_of(found)
