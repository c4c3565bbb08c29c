"""Would a compiled module load on the installed torch? Its symbols against torch's exports."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qtool.doctor.probes.elf import ElfError, ElfFile

# The namespaces that torch's libraries own; what else a module asks for is libc's and libstdc++'s.
NAMESPACES = tuple(
    f"_ZN{const}{name}".encode()
    for const in ("", "K")
    for name in ("3c10", "2at", "5torch", "6caffe2")
)
TORCH_LIBRARIES = (
    "libc10.so",
    "libc10_cuda.so",
    "libtorch.so",
    "libtorch_cpu.so",
    "libtorch_cuda.so",
    "libtorch_python.so",
)
# Symbols of a library that is not there say nothing more than that it is not there.
OWNERS = {
    "libc10_cuda.so": (b"_ZN3c104cuda", b"_ZNK3c104cuda"),
    "libtorch_cuda.so": (b"_ZN2at4cuda", b"_ZNK2at4cuda"),
}
MAX_SYMBOLS_KEPT = 50
SYSTEM_FOLDERS = (
    "/usr/local/cuda/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/lib64",
)


@dataclass(frozen=True, slots=True)
class SymbolCheck:
    """What modules lack: symbols by module, libraries by module; an unreadable one is in neither.

    A module that was read and lacks nothing has an empty tuple of symbols.
    """

    missing_symbols: dict[str, tuple[str, ...]]
    missing_libraries: dict[str, tuple[str, ...]]


def check_modules(
    modules: Mapping[str, Path], torch: Path, site: Sequence[Path], environ: Mapping[str, str]
) -> SymbolCheck:
    """Compare modules that link against torch with the libraries of the torch in ``torch``."""
    with contextlib.ExitStack() as stack:
        libraries = {
            name: library
            for name in TORCH_LIBRARIES
            if (library := _open(stack, torch / "lib" / name)) is not None
        }
        checked = SymbolCheck({}, {})
        for name, path in modules.items():
            _check_module(checked, name, path, libraries, _Folders(torch, site, environ))
        return checked


def _open(stack: contextlib.ExitStack, path: Path) -> ElfFile | None:
    try:
        return stack.enter_context(ElfFile(path))
    except (OSError, ElfError):
        return None


def _check_module(
    checked: SymbolCheck,
    name: str,
    path: Path,
    libraries: Mapping[str, ElfFile],
    folders: "_Folders",
) -> None:
    try:
        with ElfFile(path) as module:
            needed = module.needed()
            if not any(library in TORCH_LIBRARIES for library in needed):
                checked.missing_libraries.update(_cuda_only(name, module, path, folders))
                return
            absent = [n for n in needed if n in TORCH_LIBRARIES and not folders.has_torch(n)]
            unreadable = [n for n in needed if n in TORCH_LIBRARIES and n not in libraries]
            if len(unreadable) > len(absent):
                return  # a library of torch's is there but damaged: nothing can be said
            ignored = tuple(prefix for one in absent for prefix in OWNERS.get(one, ()))
            symbols = tuple(_unresolved(module, libraries.values(), ignored))
            absent += folders.missing_cuda(needed, path, module.search_path())
    except (OSError, ElfError):
        return
    checked.missing_symbols[name] = symbols
    if absent:
        checked.missing_libraries[name] = tuple(absent)


def _cuda_only(
    name: str, module: ElfFile, path: Path, folders: "_Folders"
) -> dict[str, tuple[str, ...]]:
    """Return CUDA libraries that a module without torch (llama.cpp's) does not find."""
    missing = folders.missing_cuda(
        module.needed(), path, module.search_path(), is_after_torch=False
    )
    return {name: tuple(missing)} if missing else {}


def _unresolved(
    module: ElfFile, libraries: Iterable[ElfFile], ignored: tuple[bytes, ...]
) -> Iterator[str]:
    count = 0
    libraries = list(libraries)
    for symbol in module.undefined(*NAMESPACES):
        if ignored and symbol.startswith(ignored):
            continue
        if not any(library.defines(symbol) for library in libraries):
            yield symbol.decode("ascii", "replace")
            count += 1
            if count == MAX_SYMBOLS_KEPT:
                return


@dataclass(frozen=True, slots=True)
class _Folders:
    """Where the loader would find libraries."""

    torch: Path
    site: Sequence[Path]
    environ: Mapping[str, str]

    def has_torch(self, name: str) -> bool:
        return (self.torch / "lib" / name).is_file()

    def missing_cuda(
        self,
        needed: Iterable[str],
        path: Path,
        search_path: Iterable[str],
        *,
        is_after_torch: bool = True,
    ) -> list[str]:
        """Return the CUDA runtime libraries of ``needed`` that are nowhere to be found.

        After ``import torch`` the ones that torch brings are loaded already.
        """
        wanted = [n for n in needed if n.startswith(("libcudart.so", "libcublas"))]
        if not wanted:
            return []
        origin = str(path.parent)
        folders = [Path(p.replace("$ORIGIN", origin).replace("${ORIGIN}", origin))
                   for p in search_path]  # fmt: skip
        folders += [path.parent, *self._loader_folders()]
        if is_after_torch:
            folders += [self.torch / "lib"]
            folders += [lib for one in self.site for lib in one.glob("nvidia/*/lib")]
        return [name for name in wanted if not any((f / name).exists() for f in folders)]

    def _loader_folders(self) -> Iterator[Path]:
        for text in self.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep):
            if text:
                yield Path(text)
        yield from map(Path, SYSTEM_FOLDERS)
        for conf in sorted(Path("/etc/ld.so.conf.d").glob("*.conf")):
            try:
                lines = conf.read_text(encoding="utf-8", errors="replace").splitlines()
            except OSError:
                continue
            yield from (Path(line.strip()) for line in lines if line.startswith("/"))
