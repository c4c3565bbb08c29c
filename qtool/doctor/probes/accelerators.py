"""What else than an NVIDIA GPU could compute: AMD's and Intel's GPUs, Apple's chips.

Sources: the kernel's Documentation/gpu/amdgpu and the KFD topology in sysfs (``gfx_target_version``
as in ROCR's ``amd_topology.cpp``), `rocm-smi --help`, sysctl(3) of macOS.
"""

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from qtool.doctor.probes.child import Child
from qtool.doctor.snapshot import UNKNOWN, Accelerator, OperatingSystem, Unknown

ROOT = Path("/")
TOOL_TIMEOUT_S = 5.0
KFD_NODES = "sys/class/kfd/kfd/topology/nodes"
PCI_DEVICES = "sys/bus/pci/devices"
DISPLAY_CLASS = "0x03"
VENDORS = {"0x1002": "AMD", "0x8086": "Intel"}
_HEAPS_OF_VRAM = ("1", "2")  # HSA_HEAPTYPE_FRAME_BUFFER_PUBLIC and _PRIVATE


def find_accelerators(
    system: OperatingSystem, environ: Mapping[str, str], root: Path = ROOT
) -> tuple[Accelerator, ...] | Unknown:
    """Return the accelerators that are not NVIDIA's; ``UNKNOWN`` where nobody can look."""
    if system.system == "Darwin":
        return tuple(_apple(system, environ))
    if system.system != "Linux":
        return UNKNOWN
    amd = tuple(_by_kfd(root / KFD_NODES)) or tuple(_by_rocm_smi(environ))
    seen = {one.vendor for one in amd}
    on_bus = _by_pci(root / PCI_DEVICES)
    return (*amd, *(one for one in on_bus if one.vendor not in seen))


def _by_kfd(nodes: Path) -> Iterator[Accelerator]:
    """Yield AMD's GPUs as its compute driver lists them; a processor has no gfx version."""
    for node in sorted(nodes.glob("[0-9]*"), key=lambda path: int(path.name)):
        properties = _properties(node / "properties")
        version = properties.get("gfx_target_version", "0")
        if not version.isdecimal() or int(version) == 0:
            continue
        yield Accelerator(
            vendor="AMD",
            name=_text(node / "name") or "AMD GPU",
            arch=gfx_name(int(version)),
            memory_bytes=_vram(node / "mem_banks"),
        )


def gfx_name(version: int) -> str:
    """Return ``gfx90a`` for 90010: major, minor and stepping, the last two in hexadecimal."""
    return f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"


def _vram(banks: Path) -> int | Unknown:
    sizes = [
        int(bank["size_in_bytes"])
        for path in banks.glob("*/properties")
        if (bank := _properties(path)).get("heap_type") in _HEAPS_OF_VRAM
        and bank.get("size_in_bytes", "").isdecimal()
    ]
    return sum(sizes) or UNKNOWN


def _by_rocm_smi(environ: Mapping[str, str]) -> Iterator[Accelerator]:
    """Yield AMD's GPUs as its tool lists them, where the kernel's files are out of sight."""
    smi = shutil.which("rocm-smi", path=environ.get("PATH"))
    if smi is None:
        return
    words = [smi, "--showproductname", "--showmeminfo", "vram", "--json"]
    answer = Child(words, environ=environ).result(TOOL_TIMEOUT_S)
    try:
        cards = json.loads(answer.output)
    except ValueError:
        return
    for card in cards.values() if isinstance(cards, dict) else ():
        if isinstance(card, dict) and any(key.startswith("Card") for key in card):
            yield _card(card)


def _card(card: Mapping[str, object]) -> Accelerator:
    names = (card.get(key) for key in ("Card Series", "Card series", "Card SKU"))
    memory, arch = str(card.get("VRAM Total Memory (B)")), card.get("GFX Version")
    return Accelerator(
        vendor="AMD",
        name=next((str(name) for name in names if name), "AMD GPU"),
        arch=str(arch) if arch else UNKNOWN,
        memory_bytes=int(memory) if memory.isdecimal() else UNKNOWN,
    )


def _by_pci(devices: Path) -> Iterator[Accelerator]:
    """Yield display controllers of other makers than NVIDIA, named by their numbers."""
    for device in sorted(devices.glob("*")):
        vendor = VENDORS.get(_text(device / "vendor"))
        if vendor is None or not _text(device / "class").startswith(DISPLAY_CLASS):
            continue
        number = _text(device / "device").removeprefix("0x")
        memory = _text(device / "mem_info_vram_total")
        yield Accelerator(
            vendor=vendor,
            name=f"{vendor} GPU {number}".rstrip(),
            memory_bytes=int(memory) if memory.isdecimal() else UNKNOWN,
        )


def _apple(system: OperatingSystem, environ: Mapping[str, str]) -> Iterable[Accelerator]:
    """Yield the GPU of an Apple chip, which shares the machine's memory."""
    if system.arch != "arm64":
        return
    answer = Child(
        ["sysctl", "-n", "machdep.cpu.brand_string", "hw.memsize"], environ=environ
    ).result(TOOL_TIMEOUT_S)
    lines = answer.output.splitlines()
    memory = lines[1].strip() if len(lines) > 1 else ""
    yield Accelerator(
        vendor="Apple",
        name=lines[0].strip() if lines and lines[0].strip() else "Apple GPU",
        arch="Metal",
        memory_bytes=int(memory) if memory.isdecimal() else UNKNOWN,
    )


def _properties(path: Path) -> dict[str, str]:
    """Return the lines ``key value`` of a file in sysfs."""
    pairs = re.findall(r"^(\w+) (\S+)$", _text(path), re.MULTILINE)
    return dict(pairs)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(20_000).decode("utf-8", "replace").strip("\0 \n")
    except OSError:
        return ""
