"""The installed torch, as its files tell it: version, CUDA, GPU architectures, C++ ABI."""

import mmap
import os
import re
from collections.abc import Iterable
from pathlib import Path

from qtool.doctor.probes.elf import ElfError, ElfFile
from qtool.doctor.snapshot import UNKNOWN, TorchBuild, Unknown

# c10::Error::Error(SourceLocation, std::string), exported with the string type of its C++ ABI.
_CXX11_SYMBOL = (
    b"_ZN3c105ErrorC2ENS_14SourceLocationENSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE"
)
_OLD_ABI_SYMBOL = b"_ZN3c105ErrorC2ENS_14SourceLocationESs"
_ARCH_LIST = re.compile(rb"(?:(?:sm|compute)_\d{2,3}[af]? ?)+")
MAX_ARCH_LIST_BYTES = 512
MAX_SEARCHED_BYTES = 256 * 1024 * 1024


def find_torch(paths: Iterable[Path]) -> Path | None:
    """Return the folder of torch, the first on the interpreter's path."""
    return next((path / "torch" for path in paths if (path / "torch/version.py").is_file()), None)


def read_torch(folder: Path | None) -> TorchBuild | Unknown | None:
    """Describe the torch in ``folder``; ``None`` when there is no torch."""
    if folder is None:
        return None
    try:
        text = (folder / "version.py").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return UNKNOWN
    cuda, hip = _assigned(text, "cuda"), _assigned(text, "hip")
    return TorchBuild(
        version=_assigned(text, "__version__") or UNKNOWN,
        cuda=cuda,
        arch_list=_read_arch_list(folder / "lib") if cuda else UNKNOWN,
        has_cxx11_abi=_read_cxx11_abi(folder / "lib" / "libc10.so"),
        hip=hip,
    )


def _assigned(text: str, name: str) -> str | Unknown | None:
    """Return the string that torch/version.py assigns to ``name``, ``None`` for None."""
    match = re.search(rf"^{name}\b[^=\n]*=\s*(?:'([^'\n]*)'|\"([^\"\n]*)\"|(None))", text, re.M)
    if match is None:
        return UNKNOWN
    return None if match[3] else match[1] or match[2] or UNKNOWN


def _read_arch_list(libraries: Path) -> tuple[str, ...] | Unknown:
    """Find the list of architectures that torch was compiled for, as text in its library.

    ``torch.cuda.get_arch_list()`` returns that very string. A plain search takes some 10 ms in
    these 30 MB; a regular expression over all of it took 1.1 s.
    """
    for name in ("libtorch_python.so", "torch_python.dll", "libtorch_cuda.so"):
        if not (libraries / name).is_file():
            continue
        try:
            with (libraries / name).open("rb") as file:
                size = min(os.fstat(file.fileno()).st_size, MAX_SEARCHED_BYTES)
                data = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
        except (OSError, ValueError):
            continue
        with data:
            found = _search_arch_list(data)
        if found:
            return found
    return UNKNOWN


def _search_arch_list(data: mmap.mmap) -> tuple[str, ...]:
    for mark in (b" sm_", b"\0sm_"):
        position = data.find(mark)
        while position >= 0:
            start = data.rfind(b"\0", max(0, position - MAX_ARCH_LIST_BYTES), position + 1) + 1
            end = data.find(b"\0", position + 1, position + MAX_ARCH_LIST_BYTES)
            text = data[start:end] if 0 <= start < end else b""
            if _ARCH_LIST.fullmatch(text):
                return tuple(text.decode("ascii").split())
            position = data.find(mark, position + 1)
    return ()


def _read_cxx11_abi(library: Path) -> bool | Unknown:
    try:
        with ElfFile(library) as elf:
            if elf.defines(_CXX11_SYMBOL):
                return True
            return False if elf.defines(_OLD_ABI_SYMBOL) else UNKNOWN
    except (OSError, ElfError):
        return UNKNOWN
