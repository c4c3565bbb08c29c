"""The llama.cpp programs of this machine: qtool's own wheel, a ``llama-server`` on PATH."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from qtool.doctor import facts
from qtool.doctor.probes.elf import ElfError, ElfFile
from qtool.doctor.snapshot import UNKNOWN, LlamaServer, Unknown
from qtool.models.llama_choice import LlamaKind

_BESIDE = ("*ggml-*", "../lib/*ggml-*", "../lib64/*ggml-*", "../lib/*/ggml/*/*ggml-*")
"""Where builds have the libraries of their backends: release archives, installed, Debian's."""


def find_llama_cpp(environ: Mapping[str, str]) -> str | None:
    """Return how qtool itself can run llama.cpp: its own wheel, else ``llama-server``."""
    from importlib.util import find_spec

    if find_spec("xllamacpp") is not None:
        return LlamaKind.WHEEL.value
    return LlamaKind.SERVER.value if _on_path(environ) else None


def find_llama_server(environ: Mapping[str, str]) -> LlamaServer | None:
    """Return the ``llama-server`` on PATH and what it computes with, read from its files."""
    path = _on_path(environ)
    return LlamaServer(path, _gpu_libraries(Path(os.path.realpath(path)))) if path else None


def _on_path(environ: Mapping[str, str]) -> str | None:
    return shutil.which(LlamaKind.SERVER, path=environ.get("PATH"))


def _gpu_libraries(program: Path) -> tuple[str, ...] | Unknown:
    """Return the libraries for GPUs beside a program or linked into it.

    ``UNKNOWN`` where none is there and the program is no ELF file: a script may start any.
    """
    marks = facts.fact("llama_cpp", "gpu_library_marks")
    runtimes = facts.fact("llama_cpp", "gpu_runtime_marks")
    beside = (path.name for place in _BESIDE for path in program.parent.glob(place))
    needed = _needed(program)
    found = {name for name in beside if any(mark in name for mark in marks)}
    found |= {name for name in needed or () if any(mark in name for mark in (*marks, *runtimes))}
    return UNKNOWN if needed is None and not found else tuple(sorted(found))


def _needed(program: Path) -> tuple[str, ...] | None:
    try:
        with ElfFile(program) as elf:
            return elf.needed()
    except (OSError, ElfError):
        return None
