"""The GPU probe through the real NVML binding in a real child process, on a stub library."""

import os
import time
from pathlib import Path

import pytest

from qtool.doctor.case import make_case
from qtool.doctor.diagnosis import diagnose
from qtool.doctor.finding import Goal
from qtool.doctor.probes import gpu
from qtool.doctor.probes.gpu import GpuProbe, parse_smi, read_kernel_driver
from qtool.doctor.snapshot import MIB, UNKNOWN, Snapshot
from qtool.doctor.verdict import judge
from tests.stubs.nvml import B200, RTX_4090, T4, V100, NvmlEnviron


def probe(environ: dict[str, str]) -> gpu.GpuReport:
    return GpuProbe(environ).result()


@pytest.mark.parametrize(
    ("stub", "name", "capability"),
    [
        (T4, "Tesla T4", (7, 5)),
        (V100, "Tesla V100-SXM2-16GB", (7, 0)),
        (RTX_4090, "NVIDIA GeForce RTX 4090", (8, 9)),
        (B200, "NVIDIA B200", (10, 0)),
    ],
)
def test_a_gpu_is_seen(
    nvml_environ: NvmlEnviron, stub: str, name: str, capability: tuple[int, int]
) -> None:
    report = probe(nvml_environ("550.54.15", stub))

    assert report.gpus is not UNKNOWN
    assert [(one.name, one.compute_capability) for one in report.gpus] == [(name, capability)]
    assert report.driver == "550.54.15"


def test_memory_is_in_bytes(nvml_environ: NvmlEnviron) -> None:
    (t4,) = probe(nvml_environ("550.54", T4)).gpus or ()

    assert t4.vram_bytes == 15360 * MIB
    assert t4.vram_free_bytes == (15360 - 512) * MIB


def test_two_different_gpus_are_seen_in_their_order(nvml_environ: NvmlEnviron) -> None:
    gpus = probe(nvml_environ("550.54", RTX_4090, T4)).gpus

    assert [one.compute_capability for one in gpus or ()] == [(8, 9), (7, 5)]


def test_a_driver_without_a_gpu_is_no_gpu(nvml_environ: NvmlEnviron) -> None:
    report = probe(nvml_environ("550.54"))

    assert (report.gpus, report.driver) == ((), "550.54")


def test_a_mismatch_of_driver_and_library_is_a_finding(nvml_environ: NvmlEnviron) -> None:
    report = probe(nvml_environ("error:18"))
    snapshot = Snapshot(gpus=report.gpus, driver=report.driver, nvml_error=report.nvml_error)

    codes = {finding.code for finding in diagnose(make_case(snapshot))}

    assert report.gpus is UNKNOWN
    assert "NVML-MISMATCH" in codes


def test_a_driver_that_crashes_does_not_take_doctor_along(nvml_environ: NvmlEnviron) -> None:
    report = probe(nvml_environ("crash"))

    assert report.gpus is UNKNOWN
    assert "does not answer" in (report.reason or "")


def test_a_driver_that_hangs_is_given_up(
    nvml_environ: NvmlEnviron, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "NVML_TIMEOUT_S", 0.5)
    began = time.monotonic()

    report = probe(nvml_environ("hang"))

    assert report.gpus is UNKNOWN
    assert time.monotonic() - began < 5


def test_nvidia_smi_answers_where_nvml_does_not(nvml_environ: NvmlEnviron, tmp_path: Path) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 'Tesla T4, 7.5, 15360, 15000, 535.161.07'\n")
    smi.chmod(0o755)
    environ = nvml_environ("error:9") | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}

    report = probe(environ)

    assert [one.name for one in report.gpus or ()] == ["Tesla T4"]
    assert report.driver == "535.161.07"


def test_smi_lines_that_are_no_rows_are_left_out() -> None:
    assert parse_smi("NVIDIA-SMI has failed\n") == ((), None)
    gpus, _ = parse_smi("A100, 8.0, [N/A], [N/A], 550.1\n")
    assert gpus[0].vram_bytes is UNKNOWN


def test_the_kernel_module_tells_its_version(tmp_path: Path) -> None:
    path = tmp_path / "version"
    path.write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.161.07  Sat Feb 17\nGCC version: 12\n"
    )

    assert read_kernel_driver(path) == "535.161.07"
    assert read_kernel_driver(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("stub", "answer"),
    [
        (T4, "autoawq==0.2.7.post2 'autoawq[kernels]==0.2.7.post2'"),
        (RTX_4090, "supports flash-attn, so any autoawq does"),
        (V100, "no code for it, whatever the pin"),
        (B200, "AWQ runs through gptqmodel"),
    ],
)
def test_the_question_of_flash_attn_is_answered_for_the_gpu(
    nvml_environ: NvmlEnviron, stub: str, answer: str
) -> None:
    report = probe(nvml_environ("580.65.06", stub))

    verdict = judge(make_case(Snapshot(gpus=report.gpus, driver=report.driver), Goal.AWQ))

    assert answer in " ".join(verdict["awq"].notes)
