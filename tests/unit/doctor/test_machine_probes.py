"""Machines that are not here: AMD, Apple, Jetson, WSL, conda, several toolkits, as fake trees."""

import json
import os
import platform
import sys
import threading
import time
from pathlib import Path

import pytest

from qtool.doctor.probes import gpu, machine, take
from qtool.doctor.probes.accelerators import find_accelerators, gfx_name
from qtool.doctor.probes.gpu import GpuProbe
from qtool.doctor.probes.limits import LimitedProbe
from qtool.doctor.probes.machine import read_cpu, read_os
from qtool.doctor.probes.take import take_snapshot
from qtool.doctor.probes.toolkits import find_cuda_toolkits, read_conda, read_rocm
from qtool.doctor.snapshot import UNKNOWN, Accelerator, Gpu, OperatingSystem, Snapshot
from qtool.doctor.snapshot_reader import from_mapping
from qtool.doctor.snapshot_writer import to_mapping

LINUX = OperatingSystem(system="Linux", arch="x86_64")
NO_PATH = {"PATH": "/nonexistent"}
GIB = 2**30


def put(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def script(folder: Path, name: str, text: str) -> dict[str, str]:
    """Put a program on a PATH of its own."""
    put(folder, name, f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


# --- AMD, Intel, Apple ----------------------------------------------------------------------


def test_amds_gpus_are_read_from_their_drivers_topology(tmp_path: Path) -> None:
    nodes = "sys/class/kfd/kfd/topology/nodes"
    put(tmp_path, f"{nodes}/0/properties", "cpu_cores_count 16\ngfx_target_version 0\n")
    for node in (1, 2):
        put(tmp_path, f"{nodes}/{node}/properties", "simd_count 192\ngfx_target_version 110000\n")
        put(tmp_path, f"{nodes}/{node}/name", "navi31\n")
        bank = f"heap_type 1\nsize_in_bytes {24 * GIB}\n"
        put(tmp_path, f"{nodes}/{node}/mem_banks/0/properties", bank)

    found = find_accelerators(LINUX, NO_PATH, tmp_path)

    assert found == (Accelerator("AMD", "navi31", "gfx1100", 24 * GIB),) * 2


@pytest.mark.parametrize(
    ("version", "name"),
    [(90010, "gfx90a"), (110000, "gfx1100"), (90402, "gfx942"), (80003, "gfx803")],
)
def test_architectures_of_amd_have_their_usual_names(version: int, name: str) -> None:
    assert gfx_name(version) == name


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_rocm_smi_answers_where_the_kernel_does_not(tmp_path: Path) -> None:
    cards = {
        "card0": {
            "Card Series": "AMD Instinct MI300X",
            "GFX Version": "gfx942",
            "VRAM Total Memory (B)": str(192 * GIB),
        },
        "system": {"Driver version": "6.8"},
    }
    environ = script(tmp_path / "bin", "rocm-smi", f"echo '{json.dumps(cards)}'")

    found = find_accelerators(LINUX, environ, tmp_path)

    assert found == (Accelerator("AMD", "AMD Instinct MI300X", "gfx942", 192 * GIB),)


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
@pytest.mark.parametrize("answer", ["", "[]", "{", '{"card0": 7}', "ERROR: no driver"])
def test_an_rocm_smi_that_says_nothing_of_use_is_no_gpu(tmp_path: Path, answer: str) -> None:
    environ = script(tmp_path / "bin", "rocm-smi", f"echo '{answer}'")

    assert find_accelerators(LINUX, environ, tmp_path) == ()


def test_other_display_controllers_are_seen_on_the_bus(tmp_path: Path) -> None:
    devices = {
        "0000:00:02.0": ("0x8086", "0x030000", "0x56a0"),
        "0000:01:00.0": ("0x10de", "0x030000", "0x2684"),  # NVIDIA's, seen by NVML
        "0000:02:00.0": ("0x8086", "0x020000", "0x1533"),  # a network card
    }
    for address, (vendor, kind, number) in devices.items():
        folder = f"sys/bus/pci/devices/{address}"
        for name, text in (("vendor", vendor), ("class", kind), ("device", number)):
            put(tmp_path, f"{folder}/{name}", text + "\n")

    found = find_accelerators(LINUX, NO_PATH, tmp_path)

    assert found == (Accelerator("Intel", "Intel GPU 56a0"),)


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_an_apple_chip_shares_the_machines_memory(tmp_path: Path) -> None:
    environ = script(tmp_path, "sysctl", f"echo Apple M3 Max; echo {64 * GIB}")
    system = OperatingSystem(system="Darwin", arch="arm64")

    found = find_accelerators(system, environ, tmp_path)

    assert found == (Accelerator("Apple", "Apple M3 Max", "Metal", 64 * GIB),)


def test_an_intel_mac_and_windows_promise_nothing(tmp_path: Path) -> None:
    mac = OperatingSystem(system="Darwin", arch="x86_64")
    windows = OperatingSystem(system="Windows", arch="AMD64")

    assert find_accelerators(mac, NO_PATH, tmp_path) == ()
    assert find_accelerators(windows, NO_PATH, tmp_path) is UNKNOWN


def test_a_machine_with_nothing_has_no_accelerator(tmp_path: Path) -> None:
    assert find_accelerators(LINUX, NO_PATH, tmp_path) == ()


# --- Jetson and WSL -------------------------------------------------------------------------


def jetson(root: Path) -> None:
    put(root, "etc/nv_tegra_release", "# R36 (release), REVISION: 4.0, GCID: 3, BOARD: generic\n")
    put(root, "proc/device-tree/model", "NVIDIA Jetson AGX Orin Developer Kit\0")
    put(root, "proc/meminfo", f"MemTotal: {64 * GIB // 1024} kB\nMemAvailable: 1024 kB\n")


def without_nvml(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let NVML's library not be found, whatever this machine has."""
    answer = json.dumps({"error": "not found", "number": gpu.NVML_LIBRARY_NOT_FOUND})
    program = tmp_path / "silent.py"
    program.write_text(f"print({answer!r})")
    real = gpu.Child
    monkeypatch.setattr(
        gpu, "Child", lambda words, environ: real([sys.executable, str(program)], environ=environ)
    )


def test_a_jetson_is_known_by_its_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jetson(tmp_path)
    without_nvml(monkeypatch, tmp_path)

    system = read_os(tmp_path)
    report = GpuProbe(NO_PATH, tmp_path).result()

    assert (system.is_jetson, system.l4t) == (True, "36.4.0")
    (orin,) = report.gpus or ()
    assert orin.name == "Jetson AGX Orin"
    assert orin.vram_free_bytes == 1024 * 1024


def test_a_jetson_release_that_says_nothing_is_unknown_not_absent(tmp_path: Path) -> None:
    put(tmp_path, "etc/nv_tegra_release", "")

    assert read_os(tmp_path).l4t is UNKNOWN
    assert read_os(tmp_path).is_jetson
    assert read_os(tmp_path / "elsewhere").l4t is None


def system_of(monkeypatch: pytest.MonkeyPatch, root: Path, release: str) -> OperatingSystem:
    names = platform.uname()._replace(release=release)
    monkeypatch.setattr(platform, "uname", lambda: names)
    return read_os(root)


def test_wsl_2_is_told_from_wsl_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = system_of(monkeypatch, tmp_path, "5.15.167.4-microsoft-standard-WSL2")
    one = system_of(monkeypatch, tmp_path, "4.4.0-19041-Microsoft")
    none = system_of(monkeypatch, tmp_path, "6.8.0-45-generic")

    assert [(s.is_wsl, s.wsl_version) for s in (two, one, none)] == [
        (True, 2),
        (True, 1),
        (False, None),
    ]


def test_wsl_is_known_by_proc_version_under_a_kernel_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "proc/version", "Linux version 6.6 (oe-user@oe-host) microsoft-standard-WSL2\n")
    put(tmp_path, "dev/dxg", "")

    system = system_of(monkeypatch, tmp_path, "6.6-custom")

    assert (system.is_wsl, system.wsl_version) == (True, 2)


def test_the_driver_of_windows_is_looked_for_where_wsl_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    (tmp_path / "usr/lib/wsl/lib").mkdir(parents=True)
    real = gpu.Child
    monkeypatch.setattr(
        gpu,
        "Child",
        lambda words, environ: (
            seen.append(environ.get("LD_LIBRARY_PATH", "")) or real(["true"], environ=environ)
        ),
    )

    GpuProbe({**NO_PATH, "LD_LIBRARY_PATH": "/mine"}, tmp_path)
    GpuProbe(NO_PATH, tmp_path)
    GpuProbe(NO_PATH, tmp_path / "elsewhere")

    folder = str(tmp_path / "usr/lib/wsl/lib")
    assert seen == [f"/mine:{folder}", folder, ""]


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_nvidia_smi_of_wsl_is_asked_where_it_is_not_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(
        tmp_path / "usr/lib/wsl/lib",
        "nvidia-smi",
        "echo 'NVIDIA GeForce RTX 4090, 8.9, 24564, 24000, 566.03'",
    )
    monkeypatch.setattr(gpu, "NVML_TIMEOUT_S", 5.0)

    report = GpuProbe({"LD_LIBRARY_PATH": "", **NO_PATH}, tmp_path).result()

    assert [one.compute_capability for one in report.gpus or ()] == [(8, 9)]
    assert report.driver == "566.03"


# --- processor, toolkits, conda -------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "flags"),
    [
        ("model name : AMD EPYC 9B14\nflags : fpu avx2 avx512f ht\n", "AMD EPYC 9B14",
         ("avx2", "avx512f")),
        ("Model : Raspberry Pi 5\nFeatures : fp asimd asimddp\n", "Raspberry Pi 5",
         ("asimd", "asimddp")),
    ],
)  # fmt: skip
def test_a_processor_is_named_with_the_flags_that_matter(
    tmp_path: Path, text: str, name: str, flags: tuple[str, ...]
) -> None:
    put(tmp_path, "proc/cpuinfo", text)

    cpu = read_cpu(tmp_path)

    assert (cpu.name, cpu.flags) == (name, flags)


def test_a_processor_nobody_can_look_at_has_unknown_flags(tmp_path: Path) -> None:
    assert read_cpu(tmp_path).flags is UNKNOWN


def test_several_cuda_toolkits_are_told_apart(tmp_path: Path) -> None:
    new = json.dumps({"cuda": {"name": "CUDA SDK", "version": "12.4.1"}})
    put(tmp_path, "usr/local/cuda-12.4/version.json", new)
    put(tmp_path, "usr/local/cuda-11.0/version.txt", "CUDA Version 11.0.228\n")
    for name in ("12.4", "11.0", "12.8"):
        (tmp_path / f"usr/local/cuda-{name}/bin").mkdir(parents=True)
    (tmp_path / "usr/local/cuda").symlink_to("cuda-12.4")
    own = tmp_path / "home/cuda"
    (own / "bin").mkdir(parents=True)

    found = find_cuda_toolkits({"CUDA_HOME": str(own)}, tmp_path)

    local = f"{tmp_path}/usr/local/cuda-"
    assert found == {
        f"{local}12.4": "12.4.1",
        f"{local}11.0": "11.0.228",
        f"{local}12.8": "12.8",
        str(own): "?",
    }


@pytest.mark.parametrize("text", ["[]", "{", '{"cuda": 7}', '{"cuda": {}}'])
def test_a_version_file_that_makes_no_sense_leaves_the_folders_name(
    tmp_path: Path, text: str
) -> None:
    put(tmp_path, "usr/local/cuda-12.1/version.json", text)
    (tmp_path / "usr/local/cuda-12.1/bin").mkdir()

    assert list(find_cuda_toolkits({}, tmp_path).values()) == ["12.1"]


def test_rocm_has_a_version_is_unknown_or_absent(tmp_path: Path) -> None:
    assert read_rocm(tmp_path) is None
    (tmp_path / "opt/rocm").mkdir(parents=True)
    assert read_rocm(tmp_path) is UNKNOWN
    put(tmp_path, "opt/rocm/.info/version", "6.2.4-109\n")
    assert read_rocm(tmp_path) == "6.2.4"


def test_condas_records_tell_what_it_installed(tmp_path: Path) -> None:
    for name in ("numpy-1.26.4-py310hb13e2d6_0", "pytorch-cuda-12.1-ha16c6d3_6"):
        put(tmp_path, f"conda-meta/{name}.json", "{")
    put(tmp_path, "conda-meta/history", "")

    assert read_conda(tmp_path) == {"numpy": "1.26.4", "pytorch-cuda": "12.1"}
    assert read_conda(tmp_path / "elsewhere") is None


def test_an_environment_of_conda_with_pips_packages_shows_both(tmp_path: Path) -> None:
    env = tmp_path / "conda/env"
    site = env / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    for name, installer in (("numpy-1.26.4", "conda"), ("torch-2.2.2", "pip")):
        put(site, f"{name}.dist-info/INSTALLER", installer)
    put(env, "conda-meta/numpy-1.26.4-py310_0.json", "{}")
    (env / "bin").mkdir()
    (env / "bin/python").symlink_to(sys.executable)

    snapshot = take_snapshot({**NO_PATH, "CONDA_PREFIX": str(env)}, root=tmp_path)

    assert snapshot.conda == {"numpy": "1.26.4"}
    assert snapshot.interpreter and "CONDA_PREFIX" in snapshot.interpreter.chosen_because


# --- time limits ----------------------------------------------------------------------------


def test_a_probe_that_hangs_is_unknown_with_the_reason() -> None:
    release = threading.Event()
    reasons: dict[str, str] = {}
    began = time.monotonic()

    found = LimitedProbe("dists", release.wait).result(0.1, reasons)

    assert found is UNKNOWN
    assert reasons == {"dists": "no answer within 0.1 s"}
    assert time.monotonic() - began < 5
    release.set()


def test_what_cannot_be_read_is_unknown_with_the_reason() -> None:
    reasons: dict[str, str] = {}

    def look() -> int:
        raise PermissionError(13, "Permission denied")

    assert LimitedProbe("conda", look).result(5, reasons) is UNKNOWN
    assert reasons == {"conda": "it cannot be read: Permission denied"}


def test_none_is_an_answer_and_no_failure() -> None:
    reasons: dict[str, str] = {}

    assert LimitedProbe("rocm", lambda: None).result(5, reasons) is None
    assert reasons == {}


def test_a_folder_of_packages_that_never_answers_leaves_the_rest_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    monkeypatch.setattr(take, "list_distributions", lambda paths: release.wait() and {})
    monkeypatch.setattr(take, "FILES_TIMEOUT_S", 0.2)

    snapshot = take_snapshot(NO_PATH, root=tmp_path)

    release.set()
    assert snapshot.dists is UNKNOWN
    assert snapshot.torch is UNKNOWN
    assert "no answer within" in snapshot.reasons["dists"]
    assert snapshot.python is not UNKNOWN
    assert snapshot.accelerators == ()


def test_everything_new_survives_a_round_trip() -> None:
    snapshot = Snapshot(
        os=OperatingSystem("Linux", None, "aarch64", is_jetson=True, l4t="36.4.0", wsl_version=2),
        gpus=(Gpu(name="Jetson AGX Orin"),),
        conda={"numpy": "1.26.4"},
        accelerators=(Accelerator("AMD", "navi31", "gfx1100", 24 * GIB), Accelerator("Intel")),
        cuda_toolkits={"/usr/local/cuda-12.4": "12.4.1"},
        rocm=None,
    )

    assert from_mapping(json.loads(json.dumps(to_mapping(snapshot)))) == snapshot


# --- modules of other systems ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "file", "magic"),
    [
        ("Windows", "exllama_kernels.cp311-win_amd64.pyd", b"MZ\x90\0"),
        ("Darwin", "exllama_kernels.cpython-311-darwin.so", b"\xcf\xfa\xed\xfe"),
    ],
)
def test_modules_that_are_no_elf_are_listed_and_their_symbols_unknown(
    tmp_path: Path, system: str, file: str, magic: bytes
) -> None:
    env = tmp_path / "env"
    site = env / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    put(site, "auto_gptq-0.7.1.dist-info/RECORD", f"{file},,\n")
    (site / file).write_bytes(magic + b"\0" * 400)
    (env / "bin").mkdir()
    (env / "bin/python").symlink_to(sys.executable)
    (env / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).parent}\n")

    snapshot = take_snapshot(NO_PATH, python=str(env), root=tmp_path)

    assert snapshot.ext_files["auto-gptq"] == ("exllama_kernels",)
    assert snapshot.missing_symbols == {}


def test_compilers_and_ninja_tell_their_versions(tmp_path: Path) -> None:
    for name, text in (
        ("nvcc", "Cuda compilation tools, release 12.4, V12.4.131"),
        ("c++", "c++ (Debian 12.2.0) 12.2.0"),
        ("ninja", "1.11.1"),
    ):
        script(tmp_path / "bin", name, f"echo '{text}'")
    environ = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}

    versions = machine.ToolchainProbe(environ).result()

    assert versions == {
        "nvcc": "12.4",
        "compiler": "c++ (Debian 12.2.0) 12.2.0",
        "ninja": "1.11.1",
    }


def test_a_compiler_that_fails_is_unknown_not_missing(tmp_path: Path) -> None:
    script(tmp_path, "nvcc", "exit 1")

    versions = machine.ToolchainProbe({"PATH": f"{tmp_path}:/usr/bin:/bin"}).result()

    assert versions["nvcc"] is UNKNOWN
