"""Measure which compiled kernels load on which torch, from the package index alone.

    python scripts/facts/abi_matrix.py auto-gptq [autoawq-kernels …] [--torch 2.2.2 2.3.1 …]
        [--versions 0.7.1 …] [--index URL] [--cache FOLDER] [--write FILE]

Of each wheel the compiled modules are fetched, of torch libc10.so and libc10_cuda.so: 0.7 MB a
release instead of 800. A module loads on a torch, as far as symbols tell, where those libraries
export every symbol of namespace c10 that it needs. Symbols that no release exports from them are
left out, for libtorch has those; so all releases that are known here are read, whichever are asked
for. Prints the matrix (missing symbols by module and torch) and the rows for ``loads_on_torch`` of
qtool/doctor/facts/*.json.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from wheels import INDEX, choose_linux, extract, list_wheels  # noqa: E402 - after the path

from qtool.doctor.probes.elf import ElfError, ElfFile  # noqa: E402
from qtool.doctor.versions import parse_version  # noqa: E402

CACHE = ROOT / ".cache" / "facts"
TORCHES = (
    *("2.1.2", "2.2.2", "2.3.1", "2.4.1", "2.5.1", "2.6.0", "2.7.1", "2.8.0"),
    *("2.9.1", "2.10.0", "2.11.0", "2.12.1", "2.14.1"),
)
LIBRARIES = re.compile(r"torch/lib/libc10(_cuda)?\.so$")
MODULES = re.compile(r"\.(cpython|abi3)[^/]*\.so$")
C10 = (b"_ZN3c10", b"_ZNK3c10")

Matrix = dict[str, dict[str, int]]
"""Missing symbols by ``<distribution>-<version>|<module>`` and release of torch."""


@dataclass(frozen=True, slots=True)
class Module:
    """A compiled module of a release, and the symbols of c10 that it needs."""

    package: str
    version: str
    name: str
    needs: frozenset[bytes]

    @property
    def key(self) -> str:
        """Its name in the matrix."""
        return f"{self.package}-{self.version}|{self.name}"


def read_modules(
    package: str, versions: Sequence[str], index: str, cache: Path
) -> Iterator[Module]:
    """Yield the compiled modules of a package's releases that need c10 at all."""
    for version, wheel in sorted(choose_linux(list_wheels(package, index)).items()):
        if versions and version not in versions:
            continue
        for path in extract(wheel, MODULES, cache / f"{wheel.name}-{version}"):
            try:
                with ElfFile(path) as module:
                    needs = frozenset(module.undefined(*C10))
            except ElfError as exc:
                print(f"{path}: {exc}", file=sys.stderr)
                continue
            if needs:
                yield Module(wheel.name, version, path.name.partition(".")[0], needs)


def measure(modules: Sequence[Module], torches: Sequence[str], index: str, cache: Path) -> Matrix:
    """Return how many symbols of c10 each module misses on each of ``torches``.

    All of ``TORCHES`` are read as well: whether a symbol is one of these libraries' at all shows in
    the release that the module was built for.
    """
    wanted = frozenset(symbol for module in modules for symbol in module.needs)
    wheels = choose_linux(list_wheels("torch", index))
    exported = {}
    for torch in dict.fromkeys((*TORCHES, *torches)):
        if torch not in wheels:
            print(f"there is no wheel of torch {torch}", file=sys.stderr)
            continue
        paths = extract(wheels[torch], LIBRARIES, cache / f"torch-{torch}")
        exported[torch] = _exported(wanted, paths)
    of_c10 = frozenset(symbol for found in exported.values() for symbol in found)
    return {
        module.key: {
            torch: len((module.needs & of_c10) - exported[torch])
            for torch in torches
            if torch in exported
        }
        for module in modules
    }


def _exported(wanted: frozenset[bytes], libraries: Sequence[Path]) -> frozenset[bytes]:
    with ExitStack() as stack:
        opened = [stack.enter_context(ElfFile(path)) for path in libraries]
        return frozenset(one for one in wanted if any(library.defines(one) for library in opened))


def loads_on(matrix: Matrix) -> dict[str, list[dict[str, str]]]:
    """Return rows as the facts have them: for each release the torch that all its modules load on.

    The range ends before the next minor release that was measured and does not do.
    """
    rows: dict[str, list[dict[str, str]]] = {}
    releases = dict.fromkeys(key.partition("|")[0] for key in matrix)
    for release in releases:
        columns = [row for key, row in matrix.items() if key.partition("|")[0] == release]
        good = [torch for torch in columns[0] if all(row[torch] == 0 for row in columns)]
        package, _, version = release.rpartition("-")
        entry = {"versions": f"=={version}", "torch": _range(good, list(columns[0]))}
        rows.setdefault(package.replace("_", "-"), []).append(entry)
    return rows


def _range(good: Sequence[str], measured: Sequence[str]) -> str:
    if not good:
        return "none"
    first, last = measured.index(good[0]), measured.index(good[-1])
    if any(torch not in good for torch in measured[first : last + 1]):
        return " or ".join(good)  # no range: say what is so
    lower = [] if first == 0 else [f">={_minor(good[0])}"]
    upper = [] if last + 1 == len(measured) else [f"<{_minor(measured[last + 1])}"]
    return ",".join((*lower, *upper)) or "any that was measured"


def _minor(version: str) -> str:
    parsed = parse_version(version)
    return f"{parsed.major}.{parsed.minor}" if parsed else version


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("packages", nargs="+")
    parser.add_argument("--versions", nargs="*", default=())
    parser.add_argument("--torch", nargs="*", default=TORCHES)
    parser.add_argument("--index", default=INDEX)
    parser.add_argument("--cache", type=Path, default=CACHE)
    parser.add_argument("--write", type=Path, help="write the matrix here as JSON")
    asked = parser.parse_args(arguments)
    modules = [
        module
        for package in asked.packages
        for module in read_modules(package, asked.versions, asked.index, asked.cache)
    ]
    matrix = measure(modules, asked.torch, asked.index, asked.cache)
    if asked.write:
        asked.write.write_text(json.dumps(matrix, indent=1) + "\n", encoding="utf-8")
    for text in _table(matrix):
        print(text)
    print(json.dumps(loads_on(matrix), indent=2))


def _table(matrix: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    width = max((len(key) for key in matrix), default=0)
    for key, row in matrix.items():
        cells = "  ".join(f"{torch}:{count}" for torch, count in row.items())
        yield f"{key:{width}}  {cells}"


if __name__ == "__main__":
    main()
