"""The machine below Python: system, processor, memory, disk, toolchain, environment variables."""

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from qtool.doctor.probes.child import Child
from qtool.doctor.secrets import blot_secrets
from qtool.doctor.snapshot import UNKNOWN, Cpu, Maybe, OperatingSystem, Unknown

ROOT = Path("/")
TOOL_TIMEOUT_S = 3.0
CPU_FLAGS = frozenset(
    [
        "avx",
        "avx2",
        "avx512f",
        "avx512_vnni",
        "avx512_bf16",
        "avx_vnni",
        "amx_tile",
        "amx_int8",
        "f16c",
        "fma",
        "asimd",
        "asimddp",
        "bf16",
        "i8mm",
        "sve",
    ]
)
ENV_VARS = frozenset(
    [
        "CUDA_VISIBLE_DEVICES",
        "NVIDIA_VISIBLE_DEVICES",
        "CUDA_DEVICE_ORDER",
        "CUDA_LAUNCH_BLOCKING",
        "CUDACXX",
        "PYTORCH_CUDA_ALLOC_CONF",
        "PYTORCH_ALLOC_CONF",
        "HIP_VISIBLE_DEVICES",
        "ROCR_VISIBLE_DEVICES",
        "HSA_OVERRIDE_GFX_VERSION",
        "ROCM_PATH",
        "CUDA_HOME",
        "CUDA_PATH",
        "LD_LIBRARY_PATH",
        "LD_PRELOAD",
        "TORCH_CUDA_ARCH_LIST",
        "BUILD_CUDA_EXT",
        "PYPI_RELEASE",
        "CMAKE_ARGS",
        "MAX_JOBS",
        "CC",
        "CXX",
        "PYTHONPATH",
        "PYTHONHOME",
        "VIRTUAL_ENV",
        "CONDA_PREFIX",
        "TRANSFORMERS_OFFLINE",
        "PIP_INDEX_URL",
        "PIP_EXTRA_INDEX_URL",
        "PIP_CONSTRAINT",
        "PIP_NO_BUILD_ISOLATION",
        "UV_INDEX_URL",
        "UV_DEFAULT_INDEX",
        "QTOOL_TORCH_INDEX",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "OMP_NUM_THREADS",
        "BACKEND",
        "GPTQMODEL_CPU_WORKERS",
    ]
)
FAMILIES = ("HF_", "QTOOL_")
"""Every variable of these that is set: the hub's library and qtool read them."""
TELLING_WHEN_EMPTY = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
"""Set to nothing they hide every GPU."""
SECRET_VARS = frozenset(("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"))
_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|(?:^|_)KEY(?:$|_)", re.IGNORECASE)


def read_os(root: Path = ROOT) -> OperatingSystem:
    """Describe the operating system."""
    release = platform.uname().release
    is_wsl = "microsoft" in (release + (_read(root / "proc/version", 1000) or "")).lower()
    l4t = read_l4t(root)
    return OperatingSystem(
        system=platform.system() or UNKNOWN,
        distro=_distro(),
        arch=platform.machine() or UNKNOWN,
        is_jetson=l4t is not None,
        is_wsl=is_wsl,
        container=_container(root),
        l4t=l4t,
        wsl_version=_wsl_version(root, release) if is_wsl else None,
    )


def read_l4t(root: Path) -> Maybe[str]:
    """Return the release of NVIDIA's Linux for Jetson, ``36.4.0``; ``None`` elsewhere.

    Its file begins ``# R36 (release), REVISION: 4.0, GCID: …``.
    """
    path = root / "etc/nv_tegra_release"
    if not path.exists():
        return None
    match = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", _read(path, 1000) or "")
    return f"{match[1]}.{match[2]}" if match else UNKNOWN


def _wsl_version(root: Path, release: str) -> int:
    """Tell WSL 2, which has a kernel of its own and a device for the GPU, from WSL 1."""
    has_kernel = "microsoft-standard" in release.lower() or "wsl2" in release.lower()
    return 2 if has_kernel or (root / "dev/dxg").exists() else 1


def _distro() -> Maybe[str]:
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}"
    if sys.platform == "win32":
        return f"Windows {platform.release()}"
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return UNKNOWN
    return release.get("PRETTY_NAME") or release.get("ID") or UNKNOWN


def _container(root: Path) -> str | None:
    marks = {".dockerenv": "docker", "run/.containerenv": "podman"}
    return next((name for path, name in marks.items() if (root / path).exists()), None)


def read_cpu(root: Path = ROOT) -> Cpu:
    """Describe the processor: usable cores and the flags that matter to inference."""
    text = _read(root / "proc/cpuinfo", 200_000) or ""
    name = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", text, re.M)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.M)
    known = tuple(f for f in flags[1].split() if f in CPU_FLAGS) if flags else UNKNOWN
    label = name[1].strip() if name else platform.processor()
    return Cpu(name=label or UNKNOWN, n_cores=_usable_cores() or UNKNOWN, flags=known)


def _usable_cores() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def read_disk_free(folder: Path) -> int | Unknown:
    """Return the free bytes of the disk that holds ``folder``."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return UNKNOWN


def read_env_vars(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that matter, passwords in addresses and tokens blotted out."""
    found = {
        name: "<set>" if _SECRET_NAME.search(name) else blot_secrets(value)
        for name, value in environ.items()
        if (value or name in TELLING_WHEN_EMPTY)
        and (name.upper() in ENV_VARS | SECRET_VARS or name.startswith(FAMILIES))
    }
    return dict(sorted(found.items()))


class ToolchainProbe:
    """Asks nvcc, the C++ compiler and ninja for their versions, side by side."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Look for the programs and start asking those that are there."""
        path = environ.get("PATH")
        found = {
            "nvcc": next(_nvcc_places(environ), None),
            "compiler": next((c for n in _compilers() if (c := shutil.which(n, path=path))), None),
            "ninja": shutil.which("ninja", path=path),
        }
        self._asked = {n: Child([p, "--version"], environ=environ) for n, p in found.items() if p}

    def result(self) -> dict[str, Maybe[str]]:
        """Return the versions by tool: ``None`` for none, ``UNKNOWN`` for one without an answer."""
        versions: dict[str, Maybe[str]] = dict.fromkeys(("nvcc", "compiler", "ninja"), None)
        for name, child in self._asked.items():
            text = child.result(TOOL_TIMEOUT_S).output
            versions[name] = _tool_version(name, text)
        return versions


def _compilers() -> tuple[str, ...]:
    return ("cl",) if sys.platform == "win32" else ("c++", "g++", "clang++")


def _tool_version(name: str, text: str) -> str | Unknown:
    if name == "nvcc":
        match = re.search(r"release (\d+\.\d+)", text)
        return match[1] if match else UNKNOWN
    first = text.strip().splitlines()
    return first[0][:100] if first else UNKNOWN


def _nvcc_places(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield nvcc where torch's builder would look: CUDA_HOME, PATH, the usual folder."""
    name = "nvcc.exe" if sys.platform == "win32" else "nvcc"
    homes = [environ.get("CUDA_HOME"), environ.get("CUDA_PATH")]
    for home in filter(None, homes):
        path = Path(home) / "bin" / name
        if path.is_file():
            yield str(path)
    on_path = shutil.which("nvcc", path=environ.get("PATH"))
    if on_path:
        yield on_path
    usual = Path("/usr/local/cuda/bin/nvcc")
    if usual.is_file():
        yield str(usual)


def _read(path: Path, limit: int) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(limit).decode("utf-8", "replace")
    except OSError:
        return None
