"""The NVIDIA GPUs and their driver: NVML, else nvidia-smi, else what the kernel tells."""

import json
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qtool.doctor.probes.child import Child
from qtool.doctor.snapshot import UNKNOWN, Gpu, Maybe, Unknown
from qtool.doctor.snapshot_reader import read_gpus
from qtool.ram import read_ram

NVML_TIMEOUT_S = 5.0
SMI_TIMEOUT_S = 10.0
SMI_QUERY = "name,compute_cap,memory.total,memory.free,driver_version"
NVML_LIBRARY_NOT_FOUND = 12
ROOT = Path("/")
PROC_VERSION = "proc/driver/nvidia/version"
TEGRA_RELEASE = "etc/nv_tegra_release"
DEVICE_TREE_MODEL = "proc/device-tree/model"
PCI_DEVICES = "sys/bus/pci/devices"
WSL_LIBRARIES = "usr/lib/wsl/lib"
"""Where Windows shows its driver to Linux; not every distribution's loader looks there."""
NVIDIA_VENDOR = "0x10de"


@dataclass(frozen=True, slots=True)
class GpuReport:
    """What is known of GPUs and driver, and why something is not."""

    gpus: tuple[Gpu, ...] | Unknown = UNKNOWN
    driver: Maybe[str] = UNKNOWN
    driver_kernel: Maybe[str] = UNKNOWN
    nvml_error: Maybe[str] = None
    reason: str | None = None


class GpuProbe:
    """Asks NVML in a child process, which runs while other probes do."""

    def __init__(self, environ: Mapping[str, str], root: Path = ROOT) -> None:
        """Start asking."""
        script = Path(__file__).with_name("nvml_child.py")
        self._root = root
        self._environ = environ = _with_wsl_libraries(environ, root / WSL_LIBRARIES)
        self._child = Child([sys.executable, "-I", str(script)], environ=environ)

    def result(self) -> GpuReport:
        """Return the first answer of NVML, nvidia-smi, Jetson's files and the PCI bus."""
        answer = self._child.result(NVML_TIMEOUT_S)
        said = _json_object(answer.output)
        kernel = read_kernel_driver(self._root / PROC_VERSION)
        if "gpus" in said:
            gpus, driver = read_gpus(said["gpus"]), said.get("driver")
            return GpuReport(gpus, driver if isinstance(driver, str) else UNKNOWN, kernel)
        error = str(said.get("error") or f"NVML: {answer.failure or 'no answer'}")
        by_smi = self._ask_smi(kernel, error)
        if by_smi is not None:
            return by_smi
        is_no_library = said.get("number") == NVML_LIBRARY_NOT_FOUND
        return _without_tools(self._root, kernel, error, is_no_library)

    def _ask_smi(self, kernel: Maybe[str], error: str) -> GpuReport | None:
        smi = shutil.which("nvidia-smi", path=self._environ.get("PATH"))
        on_wsl = self._root / WSL_LIBRARIES / "nvidia-smi"
        if smi is None and on_wsl.exists():
            smi = str(on_wsl)
        if smi is None:
            return None
        query = [smi, f"--query-gpu={SMI_QUERY}", "--format=csv,noheader,nounits"]
        answer = Child(query, environ=self._environ).result(SMI_TIMEOUT_S)
        gpus, driver = parse_smi(answer.output)
        if not gpus:
            is_mismatch = "mismatch" in answer.output.lower()
            message = answer.output.strip() if is_mismatch else error
            return GpuReport(UNKNOWN, kernel, kernel, message, message) if is_mismatch else None
        return GpuReport(gpus, driver or kernel, kernel, None)


def _with_wsl_libraries(environ: Mapping[str, str], folder: Path) -> Mapping[str, str]:
    if not folder.is_dir():
        return environ
    known = environ.get("LD_LIBRARY_PATH")
    return {**environ, "LD_LIBRARY_PATH": f"{known}:{folder}" if known else str(folder)}


def _without_tools(root: Path, kernel: Maybe[str], error: str, is_no_library: bool) -> GpuReport:
    """Judge by the kernel alone: a Jetson, a GPU without a working driver, or no GPU."""
    if (root / TEGRA_RELEASE).exists():
        return GpuReport((_jetson(root),), kernel or UNKNOWN, kernel)
    if not is_no_library or kernel or _has_nvidia_device(root / PCI_DEVICES):
        reason = f"there is NVIDIA hardware or a driver, but it does not answer: {error}"
        return GpuReport(UNKNOWN, kernel, kernel, error, reason)
    return GpuReport((), None, None)


def parse_smi(text: str) -> tuple[tuple[Gpu, ...], str | None]:
    """Return the GPUs and the driver of nvidia-smi's csv without header and units."""
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines()]
    rows = [row for row in rows if len(row) == len(SMI_QUERY.split(","))]
    gpus = read_gpus(
        [
            {
                "name": name,
                "cc": capability,
                "vram_mib": int(total) if total.isdecimal() else None,
                "vram_free_mib": int(free) if free.isdecimal() else None,
            }
            for name, capability, total, free, _ in rows
        ]
    )
    return gpus or (), rows[0][-1] if rows else None


def read_kernel_driver(path: Path) -> Maybe[str]:
    """Return the version of the loaded kernel module; ``None`` when none is loaded."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError:
        return UNKNOWN
    match = re.search(r"Kernel Module\D*(\d+\.\d+(?:\.\d+)?)", text)
    return match[1] if match else UNKNOWN


def _jetson(root: Path) -> Gpu:
    """Describe the GPU of a Jetson, which shares the machine's memory."""
    try:
        text = (root / DEVICE_TREE_MODEL).read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = "Jetson"
    name = text.strip("\0 \n").removeprefix("NVIDIA ").replace(" Developer Kit", "")
    ram = read_ram(root / "proc/meminfo")
    return Gpu(
        name=name,
        vram_bytes=ram.total_bytes or UNKNOWN,
        vram_free_bytes=UNKNOWN if ram.available_bytes is None else ram.available_bytes,
    )


def _has_nvidia_device(devices: Path) -> bool:
    """Tell whether a display controller (class 0x03) of NVIDIA's is on the PCI bus."""
    for device in devices.glob("*"):
        try:
            vendor = (device / "vendor").read_text(encoding="ascii").strip()
            kind = (device / "class").read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            continue
        if vendor == NVIDIA_VENDOR and kind.startswith("0x03"):
            return True
    return False


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
