"""Rules beyond the public cases: what follows from the facts, and what must stay silent."""

from typing import Any

import pytest

from tests.unit.doctor.machines import (
    AWQ_MODULES,
    GPTQ_MODULES,
    LINUX,
    RTX_3090,
    RTX_5090,
    T4,
    V100,
    WINDOWS,
    commands_of,
    errors_of,
    findings_of,
    torch,
)

AUTO_GPTQ = {"torch": "2.2.2+cu121", "auto-gptq": "0.7.1", "transformers": "4.38.2",
             "optimum": "1.17.1", "numpy": "1.26.4"}  # fmt: skip
AUTOAWQ = {"torch": "2.6.0+cu124", "autoawq": "0.2.9", "autoawq-kernels": "0.0.9",
           "transformers": "4.51.3"}  # fmt: skip
MODERN = {"torch": "2.10.0+cu128", "gptqmodel": "7.0.0", "transformers": "5.5.0",
          "optimum": "2.3.0", "numpy": "2.2.6", "ninja": "1.13"}  # fmt: skip


def healthy_gptq(**fields: Any) -> dict[str, Any]:
    return {
        "dists": AUTO_GPTQ,
        "ext_files": {"auto-gptq": GPTQ_MODULES},
        "import_results": {},
        "torch": torch("2.2.2+cu121"),
        **fields,
    }


# --- healthy machines -----------------------------------------------------------------------


@pytest.mark.parametrize("goal", [None, "gptq"])
def test_an_old_set_that_fits_is_left_alone(goal: str | None) -> None:
    assert set(findings_of(goal, **healthy_gptq())) == {"OK-LEGACY"}


def test_an_old_awq_set_that_fits_is_left_alone() -> None:
    found = findings_of(
        "awq",
        dists={**AUTOAWQ, "flash-attn": "2.7.4.post1"},
        ext_files={"autoawq-kernels": AWQ_MODULES},
        import_results={},
        torch=torch("2.6.0+cu124", "12.4"),
    )

    assert set(found) == {"OK-LEGACY"}


def test_a_modern_set_gets_no_finding() -> None:
    found = findings_of(
        "gptq",
        dists=MODERN,
        torch=torch("2.10.0+cu128", "12.8", ["sm_80", "sm_86", "sm_90"]),
        nvcc="12.8",
    )

    assert found == {}


@pytest.mark.parametrize("goal", [None, "gguf"])
def test_a_machine_without_gpu_and_torch_gets_no_finding(goal: str | None) -> None:
    assert findings_of(goal, gpus=[], driver=None) == {}


def test_what_the_goal_does_not_need_is_no_error() -> None:
    broken = healthy_gptq(
        torch=torch("2.3.1+cu121"),
        dists=AUTO_GPTQ | {"torch": "2.3.1+cu121"},
        import_results=dict.fromkeys(GPTQ_MODULES, "ImportError: undefined symbol: x"),
    )

    assert findings_of("gptq", **broken)["GPTQ-KERNELS-ABI"].severity == "error"
    assert findings_of("gguf", **broken)["GPTQ-KERNELS-ABI"].severity == "info"


# --- kernels: evidence first ----------------------------------------------------------------


def unimported(torch_version: str, **fields: Any) -> dict[str, Any]:
    """A machine whose modules nobody imported, as a live snapshot has it."""
    machine = healthy_gptq(torch=torch(torch_version), **fields)
    machine["dists"] = {**AUTO_GPTQ, "torch": torch_version}
    del machine["import_results"]
    return machine


def test_symbols_decide_before_versions() -> None:
    resolved: dict[str, list[str]] = {name: [] for name in GPTQ_MODULES}

    assert "GPTQ-KERNELS-ABI" in findings_of("gptq", **unimported("2.5.1+cu121"))
    rebuilt = unimported("2.5.1+cu121", missing_symbols=resolved)
    assert "GPTQ-KERNELS-ABI" not in findings_of("gptq", **rebuilt)


def test_undefined_symbols_are_the_evidence() -> None:
    missing = {GPTQ_MODULES[0]: ["_ZN3c104cuda9SetDeviceEi"]}

    finding = findings_of("gptq", **unimported("2.3.1+cu121", missing_symbols=missing))[
        "GPTQ-KERNELS-ABI"
    ]

    assert "_ZN3c104cuda9SetDeviceEi" in " ".join(finding.evidence)
    assert finding.confidence == "certain"


def test_version_ranges_do_not_speak_of_a_vendors_torch() -> None:
    found = findings_of("gptq", **unimported("2.5.0a0+872d972e41.nv24.8"))

    assert "GPTQ-KERNELS-ABI" not in found
    assert found["TORCH-VENDOR-BUILD"].severity == "warning"


def test_a_symbol_speaks_even_of_a_vendors_torch() -> None:
    missing = {GPTQ_MODULES[0]: ["_ZN3c104cuda9SetDeviceEi"]}

    found = findings_of("gptq", **unimported("2.5.0a0+nv24.8", missing_symbols=missing))

    assert "GPTQ-KERNELS-ABI" in found


def test_kernels_that_nobody_looked_for_are_not_called_missing() -> None:
    found = findings_of("gptq", **healthy_gptq(ext_files={}))

    assert "GPTQ-KERNELS-MISSING" not in found


def test_a_cpu_module_alone_is_no_cuda_kernel() -> None:
    found = findings_of("gptq", **healthy_gptq(ext_files={"auto-gptq": ["cQIGen"]}))

    assert "GPTQ-KERNELS-MISSING" in found


# --- GPTQ -----------------------------------------------------------------------------------


def test_auto_gptq_does_not_exist_for_macos() -> None:
    errors = errors_of(
        "gptq",
        os={"system": "Darwin", "distro": "macOS 15", "arch": "arm64"},
        python="3.12.1",
        dists={"torch": "2.5.1", "transformers": "4.46.0"},
        torch=torch("2.5.1", None),
        gpus=[],
        driver=None,
    )

    assert errors == {"GPTQ-OS-UNSUPPORTED"}


def test_transformers_5_wants_a_gptqmodel_written_for_it() -> None:
    dists = MODERN | {"gptqmodel": "5.6.12", "optimum": "2.1.0"}

    found = findings_of(
        "gptq", dists=dists, torch=torch("2.10.0+cu128", "12.8", ["sm_86"]), nvcc="12.8"
    )

    assert found["GPTQ-TF5-NEEDS-NEWER-GPTQMODEL"].severity == "error"


def test_the_newest_optimum_wants_gptqmodel_7() -> None:
    dists = MODERN | {"gptqmodel": "6.0.3"}

    found = findings_of("gptq", dists=dists, torch=torch("2.10.0+cu128", "12.8", ["sm_86"]))

    assert found["GPTQ-OPTIMUM-MISMATCH"].severity == "error"


def test_marlin_is_an_error_only_where_it_was_chosen() -> None:
    fields = {"dists": MODERN, "torch": torch("2.10", "12.8", ["sm_70"]), "gpus": [V100],
              "nvcc": "12.8"}  # fmt: skip

    quiet = findings_of("gptq", **fields)["GPTQMODEL-MARLIN-CC"]
    chosen = findings_of("gptq", **fields, env_vars={"BACKEND": "marlin"})["GPTQMODEL-MARLIN-CC"]

    assert (quiet.severity, chosen.severity) == ("info", "error")


def test_a_toolchain_without_nvcc_is_named() -> None:
    found = findings_of("gptq", dists=MODERN, torch=torch("2.10.0+cu128", "12.8", ["sm_86"]))

    assert "cuda-toolkit-12-8" in commands_of(found["GPTQMODEL-JIT-TOOLCHAIN"])


def test_python_312_has_no_wheel_of_auto_gptq() -> None:
    fields = {"python": "3.12.4", "dists": {"torch": "2.5.1+cu124"}, "torch": torch("2.5.1")}

    found = findings_of("gptq", **fields)

    assert found["GPTQ-NO-WHEEL-FOR-PYTHON"].severity == "warning"  # gptqmodel does the same
    assert found["GPTQ-BUILD-ISOLATION"].severity == "info"
    assert findings_of("build", **fields)["GPTQ-BUILD-ISOLATION"].severity == "warning"
    assert "GPTQ-NO-WHEEL-FOR-PYTHON" not in findings_of("gptq", **{**fields, "python": "3.11.9"})


def test_kernels_of_auto_gptq_are_not_missed_where_transformers_takes_gptqmodel() -> None:
    dists = {"torch": "2.6.0+cu124", "transformers": "4.51.3", "optimum": "1.24.0",
             "auto-gptq": "0.7.1", "numpy": "2.2.4"}  # fmt: skip
    fields = {"torch": torch("2.6.0+cu124", "12.4"), "ext_files": {"auto-gptq": GPTQ_MODULES}}

    assert errors_of("gptq", dists=dists, **fields) == {"GPTQ-KERNELS-ABI"}
    assert errors_of("gptq", dists=dists | {"gptqmodel": "2.2.0"}, **fields) == set()
    assert "GPTQ-KERNELS-ABI" in findings_of("gptq", dists=dists | {"gptqmodel": "2.2.0"}, **fields)


@pytest.mark.parametrize(
    ("version", "cuda", "index"),
    [
        ("2.4.1+cu121", "12.1", None),  # as PyPI's
        ("2.4.1", "12.1", None),
        ("2.4.1+cu118", "11.8", "/cu118"),
        ("2.4.1+cpu", None, "/cpu"),
    ],
)
def test_companions_come_from_where_their_torch_does(
    version: str, cuda: str | None, index: str | None
) -> None:
    dists = {"torch": version, "torchvision": "0.20.0", "transformers": "4.45.0"}
    found = findings_of("plain", dists=dists, torch=torch(version, cuda), gpus=[], driver=None)
    first = found["TORCHVISION-MISMATCH"].fixes[0].commands[0]

    assert "torchvision==0.19.1" in first
    assert ("--index-url" in first) is (index is not None)
    assert index is None or first.endswith(index)


def test_what_has_no_code_for_an_old_gpu_is_no_cure_for_it() -> None:
    gtx_970 = {"name": "NVIDIA GeForce GTX 970", "cc": "5.2", "vram_mib": 4096}
    dists = {"torch": "2.6.0+cu124", "transformers": "4.51.3"}
    found = findings_of("gptq", gpus=[gtx_970], dists=dists, torch=torch("2.6.0+cu124", "12.4"))
    commands = "\n".join(map(commands_of, found.values()))

    assert "GPTQMODEL-BUILD-ISOLATION" not in found
    assert "auto-gptq==0.7.1 transformers" not in commands
    assert "--format gguf" in commands


def test_a_jetson_is_sent_to_nvidia_for_its_torch() -> None:
    system = {"system": "Linux", "arch": "aarch64", "jetson": True, "l4t": "36.4.0"}
    orin = {"name": "Orin", "cc": "8.7", "vram_mib": 30536}
    dists = {"torch": "2.6.0", "transformers": "4.51.3"}
    found = findings_of("plain", os=system, gpus=[orin], dists=dists, torch=torch("2.6.0", None))

    assert "install-pytorch-jetson-platform" in commands_of(found["TORCH-CPU-ONLY"])
    assert "download.pytorch.org" not in commands_of(found["TORCH-CPU-ONLY"])


def test_who_has_no_gpu_need_not_be_warned_of_building_for_one() -> None:
    fields = {"dists": {"torch": "2.5.1"}, "torch": torch("2.5.1", None), "gpus": []}
    found = findings_of("build", driver=None, **fields)

    assert {found[f"{one}-BUILD-ISOLATION"].severity for one in ("GPTQ", "FA")} == {"info"}


@pytest.mark.parametrize(
    ("distro", "repository", "install"),
    [
        ("Ubuntu 22.04.5 LTS", "ubuntu2204", "apt-get install -y cuda-toolkit-12-1"),
        ("Debian GNU/Linux 11 (bullseye)", "debian11", "apt-get install -y cuda-toolkit-12-1"),
        ("Rocky Linux 9.4 (Blue Onyx)", "rhel9", "dnf install -y cuda-toolkit-12-1"),
        ("Red Hat Enterprise Linux 8.10", "rhel8", "dnf install -y cuda-toolkit-12-1"),
        ("Ubuntu 24.04.1 LTS", None, "conda install -y -c nvidia cuda-toolkit=12.1"),
        ("Arch Linux", None, "conda install -y -c nvidia cuda-toolkit=12.1"),
    ],
)
def test_a_toolkit_comes_from_the_repository_that_has_it(
    distro: str, repository: str | None, install: str
) -> None:
    system = {"system": "Linux", "distro": distro, "arch": "x86_64"}
    dists = {"torch": "2.4.1+cu121"}
    found = findings_of("build", os=system, dists=dists, torch=torch("2.4.1+cu121"), nvcc="11.8")

    commands = commands_of(found["BUILD-CUDA-MISMATCH"])
    assert install in commands
    assert ("developer.download.nvidia.com" in commands) is (repository is not None)
    assert repository is None or f"/repos/{repository}/x86_64/" in commands


def test_numpy_1_contradicts_gptqmodel() -> None:
    errors = errors_of(
        "gptq",
        dists=MODERN | {"numpy": "1.26.4"},
        torch=torch("2.10.0+cu128", "12.8", ["sm_86"]),
        nvcc="12.8",
    )

    assert errors == {"PIP-CONFLICT"}


# --- AWQ ------------------------------------------------------------------------------------


@pytest.mark.parametrize("gpu", [RTX_5090, V100])
def test_awq_kernels_have_no_code_outside_of_7_5_to_9_0(gpu: dict[str, Any]) -> None:
    found = findings_of(
        "awq", dists=AUTOAWQ, ext_files={"autoawq-kernels": AWQ_MODULES}, import_results={},
        torch=torch("2.6.0+cu124", "12.4", ["sm_70", "sm_120"]), gpus=[gpu],
    )  # fmt: skip

    assert found["AWQ-NO-BLACKWELL-KERNELS"].severity == "error"


def test_a_pin_is_not_offered_where_it_does_not_help() -> None:
    found = findings_of("awq", dists=AUTOAWQ, ext_files={"autoawq-kernels": AWQ_MODULES},
                        import_results={}, torch=torch("2.6.0"), gpus=[V100])  # fmt: skip

    assert "0.2.7.post2" not in commands_of(found["AWQ-NO-BLACKWELL-KERNELS"])


def test_fused_layers_without_flash_attn_are_warned_of() -> None:
    fields = {"dists": AUTOAWQ, "ext_files": {"autoawq-kernels": AWQ_MODULES},
              "import_results": {}, "torch": torch("2.6.0+cu124")}  # fmt: skip

    finding = findings_of("awq", **fields)["AWQ-EXTRA-NEEDS-FLASH-ATTN"]

    assert "fuse_layers=False" in commands_of(finding)
    assert "flash_attn_func" in finding.explanation
    assert errors_of("awq", **fields) == set()


def test_transformers_5_does_not_load_awq_through_autoawq() -> None:
    dists = AUTOAWQ | {"transformers": "5.2.0"}

    assert "AWQ-TRANSFORMERS-TOO-NEW" in errors_of("awq", dists=dists, torch=torch("2.6.0"))
    both = dists | {"gptqmodel": "7.0.0", "torch": "2.8.0"}
    assert "AWQ-TRANSFORMERS-TOO-NEW" not in errors_of("awq", dists=both, torch=torch("2.8.0"))


def test_autoawq_on_windows_needs_triton_under_another_name() -> None:
    dists = {"torch": "2.5.1+cu124", "autoawq": "0.2.7.post3", "transformers": "4.46.3"}
    fields = {"os": WINDOWS, "torch": torch("2.5.1+cu124"), "gpus": [RTX_3090]}

    assert errors_of("awq", dists=dists, **fields) == {"AWQ-WINDOWS-TRITON"}
    assert errors_of("awq", dists=dists | {"triton-windows": "3.1"}, **fields) == set()


# --- torch, driver, toolkit -----------------------------------------------------------------


def test_a_cpu_torch_beside_a_gpu_is_replaced_not_added() -> None:
    finding = findings_of("plain", dists={"torch": "2.5.1+cpu"}, torch=torch("2.5.1+cpu", None))[
        "TORCH-CPU-ONLY"
    ]

    commands = finding.fixes[0].commands
    assert finding.severity == "error"
    assert "uninstall" in commands[0]
    assert commands[1].endswith('"torch>=2.5,<2.6"')  # PyPI's is built with CUDA 12.4
    assert "cu124" in finding.fixes[1].commands[1]


def test_a_cpu_torch_without_a_gpu_is_as_it_should_be() -> None:
    found = findings_of("plain", dists={"torch": "2.5.1+cpu"}, torch=torch("2.5.1+cpu", None),
                        gpus=[])  # fmt: skip

    assert found == {}


@pytest.mark.parametrize(
    ("driver", "cuda", "codes"),
    [
        ("470.239.06", "11.8", {"DRV-LIMITS-TO-CUDA11"}),
        ("470.239.06", "12.1", {"DRV-LIMITS-TO-CUDA11", "DRV-TOO-OLD-FOR-CUDA-MAJOR"}),
        ("525.60.13", "12.8", set()),
        ("525.60.12", "12.1", {"DRV-LIMITS-TO-CUDA11", "DRV-TOO-OLD-FOR-CUDA-MAJOR"}),
        ("579.99", "13.0", {"DRV-TOO-OLD-FOR-CUDA-MAJOR"}),
        ("580.65.06", "13.0", set()),
    ],
)
def test_the_driver_decides_by_cuda_major(driver: str, cuda: str, codes: set[str]) -> None:
    found = findings_of(
        "plain", driver=driver, dists={"torch": "2.5.1"}, torch=torch("2.5.1", cuda)
    )

    assert set(found) == codes


def test_a_torch_for_a_cuda_11_driver_is_of_cuda_11() -> None:
    found = findings_of("plain", driver="470.1", dists={"torch": "2.5.1"}, torch=torch("2.5.1"))

    assert "whl/cu118" in commands_of(found["DRV-TOO-OLD-FOR-CUDA-MAJOR"])


def test_a_jetson_driver_is_not_measured_by_the_desktops_numbers() -> None:
    found = findings_of(
        "plain", os={**LINUX, "arch": "aarch64", "jetson": True}, driver="35.4.1",
        dists={"torch": "2.5.0"}, torch=torch("2.5.0", "12.6", ["sm_86"]),
    )  # fmt: skip

    assert found == {}


@pytest.mark.parametrize(
    "driver",
    [
        {"driver": {"library": "550.90.07", "kernel": "550.54.15"}},
        {"driver": "550.90.07", "driver_kernel": "550.54.15"},
        {"driver": None, "gpus": [], "nvml_error": "Driver/library version mismatch"},
        {"gpus": [], "nvidia_smi": "Failed to initialize NVML: Driver/library version mismatch"},
        {"import_results": {"pynvml": "NVMLError: Driver/Library Version Mismatch"}},
    ],
)
def test_a_half_updated_driver_needs_a_reboot(driver: dict[str, Any]) -> None:
    finding = findings_of(None, **driver)["NVML-MISMATCH"]

    assert "sudo reboot" in commands_of(finding)


def test_nvcc_of_another_major_stops_a_build() -> None:
    errors = errors_of(
        "build", dists={"torch": "2.0.1+cu117"}, torch=torch("2.0.1+cu117", "11.7"), nvcc="12.2"
    )

    assert errors == {"BUILD-CUDA-MISMATCH"}


def test_nothing_is_asked_of_a_toolkit_that_nothing_needs() -> None:
    found = findings_of("plain", dists={"torch": "2.5.1"}, torch=torch("2.5.1"), nvcc="11.8")

    assert found == {}


def test_a_newer_minor_of_the_same_major_runs_the_binary() -> None:
    l4 = {"name": "NVIDIA L4", "cc": "8.9", "vram_mib": 23034}

    assert findings_of("plain", gpus=[l4], dists={"torch": "2.5.1"}, torch=torch("2.5.1")) == {}


def test_ptx_runs_on_every_newer_gpu() -> None:
    archs = ["sm_80", "compute_80"]

    found = findings_of(
        "plain", gpus=[RTX_5090], dists={"torch": "2.5.1"}, torch=torch("2.5.1", "12.4", archs)
    )

    assert found == {}


def test_a_gpu_that_another_one_can_stand_in_for_is_a_warning() -> None:
    old = {"name": "NVIDIA GeForce GTX 980", "cc": "5.2", "vram_mib": 4096}
    archs = ["sm_75", "sm_80", "sm_86", "sm_90"]

    found = findings_of("plain", gpus=[RTX_3090, old], dists={"torch": "2.11.0"},
                        torch=torch("2.11.0", "13.0", archs), driver="580.65")  # fmt: skip

    assert found["GPU-OLDER-THAN-TORCH"].severity == "warning"


def test_kernels_that_a_cpu_torch_cannot_load_are_a_consequence() -> None:
    error = "ImportError: libc10_cuda.so: cannot open shared object file"
    fields = healthy_gptq(
        torch=torch("2.2.2+cpu", None),
        dists=AUTO_GPTQ | {"torch": "2.2.2+cpu"},
        import_results=dict.fromkeys(GPTQ_MODULES, error),
    )

    assert errors_of("gptq", **fields) == {"TORCH-CPU-ONLY"}
    assert findings_of("gptq", **fields)["GPTQ-KERNELS-ABI"].severity == "warning"


# --- flash-attn, bitsandbytes, llama.cpp ----------------------------------------------------


def test_flash_attn_is_information_where_nothing_asks_for_it() -> None:
    dists = {"torch": "2.5.1", "flash-attn": "2.7.0"}

    found = findings_of("gptq", gpus=[T4], dists=dists, torch=torch("2.5.1"))

    assert found["FA-CC-TOO-LOW"].severity == "info"


def test_a_flash_attn_of_the_other_abi_is_named() -> None:
    symbol = "_ZN3c105ErrorC2ENS_14SourceLocationESs"

    finding = findings_of(
        "flash-attn", dists={"torch": "2.7.1", "flash-attn": "2.7.4.post1"},
        ext_files={"flash-attn": ["flash_attn_2_cuda"]}, torch=torch("2.7.1", "12.6"),
        import_results={"flash_attn_2_cuda": f"ImportError: x.so: undefined symbol: {symbol}"},
    )["FA-ABI"]  # fmt: skip

    assert "old C++ ABI" in finding.explanation
    assert "flash-attn==2.8.3" in commands_of(finding)


@pytest.mark.parametrize(
    ("version", "cuda", "is_missing"),
    [("0.47.0", "13.0", True), ("0.49.2", "13.0", False), ("0.50.2", "12.9", False),
     ("0.41.3", "12.1", False), ("0.41.3", "12.4", True), ("0.43.1", "12.4", False),
     ("0.45.2", "12.8", True), ("0.45.3", "12.8", False), ("0.39.1", "12.4", False)],
)  # fmt: skip
def test_bitsandbytes_needs_a_library_for_torchs_cuda(
    version: str, cuda: str, is_missing: bool
) -> None:
    found = findings_of("bnb", dists={"torch": "2.9.0", "bitsandbytes": version},
                        torch=torch("2.9.0", cuda), driver="580.65")  # fmt: skip

    assert ("BNB-ARCH-MISSING" in found) is is_missing


def test_llama_cpp_that_misses_the_cuda_runtime_is_told_where_it_is() -> None:
    finding = findings_of(
        "gguf",
        dists={"llama-cpp-python": "0.3.36"},
        ext_files={"llama-cpp-python": ["llama_cpp/lib/libggml-cuda.so"]},
        import_results={"llama_cpp": "OSError: libcudart.so.12: cannot open shared object file"},
    )["LCPP-CUDART-MISSING"]

    assert finding.severity == "error"
    assert "nvidia-cuda-runtime-cu12" in commands_of(finding)


def test_llama_cpp_with_cuda_gets_no_finding() -> None:
    files = {"llama-cpp-python": ["llama_cpp/lib/libggml-cuda.so"]}

    found = findings_of(
        "gguf", dists={"llama-cpp-python": "0.3.36"}, import_results={}, ext_files=files
    )

    assert found == {}


def test_a_goal_without_any_engine_is_told_what_to_install() -> None:
    finding = findings_of("awq", dists={"torch": "2.5.1"}, torch=torch("2.5.1"))["ENGINE-MISSING"]

    assert "autoawq==0.2.9" in commands_of(finding)
    assert "gptqmodel" in commands_of(finding)
    assert finding.severity == "warning"


def test_no_engine_is_missing_where_vllm_is_installed() -> None:
    dists = {"torch": "2.10.0", "vllm": "0.30.0"}

    assert "ENGINE-MISSING" not in findings_of("gptq", dists=dists, torch=torch("2.10.0", "12.8"))
    assert "ENGINE-MISSING" in findings_of("bnb", dists=dists, torch=torch("2.10.0", "12.8"))


# --- environment ----------------------------------------------------------------------------


def test_a_requirement_with_a_marker_counts_only_where_it_applies() -> None:
    requires = {"autoawq": ["transformers<4.40; sys_platform == 'win32'", "not a requirement!"]}
    fields = {"dists": {"autoawq": "0.2.4", "transformers": "4.41.0"}, "requires": requires}

    assert "PIP-CONFLICT" not in findings_of("awq", **fields)
    assert "PIP-CONFLICT" in findings_of("awq", os=WINDOWS, **fields)


def test_a_model_that_fits_gets_no_finding() -> None:
    model = {"id": "a/b-GPTQ", "params": 7 * 10**9, "bits": 4, "group_size": 128, "n_layers": 32,
             "n_kv_heads": 8, "head_dim": 128, "context": 4096}  # fmt: skip

    assert set(findings_of("gptq", **healthy_gptq(model=model))) == {"OK-LEGACY"}
    small = {**T4, "vram_mib": 4096}
    assert "VRAM-INSUFFICIENT" in findings_of("gptq", **healthy_gptq(model=model, gpus=[small]))


def test_a_python_that_does_not_answer_is_no_healthy_one() -> None:
    found = findings_of(unknown={"interpreter": "ended with code 1"}, gpus=[])

    assert found["ENV-PYTHON-SILENT"].severity == "warning"
    assert "ended with code 1" in found["ENV-PYTHON-SILENT"].evidence[0]


def test_what_bitsandbytes_said_when_imported_is_the_evidence() -> None:
    said = "RuntimeError: CUDA Setup failed; libbitsandbytes_cuda121.so not found"
    fields = {"dists": {"torch": "2.1.0", "bitsandbytes": "0.41.1"}, "torch": torch("2.1.0")}

    finding = findings_of("bnb", **fields, import_results={"bitsandbytes": said})[
        "BNB-ARCH-MISSING"
    ]

    assert said in finding.evidence[0]
    assert "BNB-ARCH-MISSING" not in findings_of("bnb", **fields, import_results={})
    assert "BNB-ARCH-MISSING" in findings_of("bnb", **fields, os=WINDOWS)


def test_cuda_asked_of_a_cpu_torch_without_a_gpu() -> None:
    said = "AssertionError: Torch not compiled with CUDA enabled"
    fields = {"dists": {"torch": "2.5.1"}, "torch": torch("2.5.1", None), "gpus": []}

    finding = findings_of("plain", **fields, import_results={"x": said})["TORCH-CPU-ONLY"]

    assert finding.severity == "error"
    assert "uninstall" not in commands_of(finding)
    assert findings_of("plain", **fields, import_results={}) == {}


def test_a_model_in_marlins_layout_says_that_marlin_was_chosen() -> None:
    fields = {"dists": MODERN, "torch": torch("2.10", "12.8", ["sm_70"]), "gpus": [V100],
              "nvcc": "12.8", "model": {"id": "org/model-marlin", "params": 7 * 10**9}}  # fmt: skip

    assert findings_of("gptq", **fields)["GPTQMODEL-MARLIN-CC"].severity == "error"
