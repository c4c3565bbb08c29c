"""The distributions of an interpreter, read from its folders: nothing is imported or run.

Names and versions come from the names of the ``.dist-info`` and ``.egg-info`` entries, as pip
writes them (PEP 376); reading the metadata of 300 distributions would take longer than all other
probes together, so only those of interest are opened.
"""

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from qtool.doctor.snapshot import UNKNOWN, Unknown, canonical_name

MAX_FILE_BYTES = 32 * 1024 * 1024
COMPILED_SUFFIXES = (".so", ".pyd", ".dll", ".dylib")
_ENTRY = re.compile(r"(?P<name>[^-~][^-]*)-(?P<version>[^-]+)(-py3[.\d]*)?\.(dist|egg)-info")


@dataclass(frozen=True, slots=True)
class Distribution:
    """An installed distribution and the folder of its metadata."""

    name: str
    version: str
    info: Path


def list_distributions(paths: Iterable[Path]) -> dict[str, Distribution] | Unknown:
    """Return the distributions by canonical name; the first folder that has one wins.

    ``UNKNOWN`` when not one of the folders can be read.
    """
    found: dict[str, Distribution] = {}
    n_read = 0
    for path in paths:
        try:
            names = os.listdir(path)  # noqa: PTH208 - iterdir makes 300 Path objects
        except OSError:
            continue
        n_read += 1
        for name in names:
            match = _ENTRY.fullmatch(name)
            if match:
                one = Distribution(canonical_name(match["name"]), match["version"], path / name)
                found.setdefault(one.name, one)
    return found if n_read else UNKNOWN


def compiled_modules(
    distribution: Distribution, known_modules: Collection[str]
) -> dict[str, Path] | None:
    """Return the compiled modules that belong to a distribution, and their files.

    A top-level module is named as it is imported, one inside a package by its path. Where there
    is no RECORD (conda, Debian, editable installs) the modules that such a package is known to
    have are looked for beside it; ``None`` when even that finds nothing, which is not a proof.
    """
    folder = distribution.info.parent
    record = _read_text(distribution.info / "RECORD")
    if record is None:
        found = {
            module_name(path.name): path
            for path in _compiled_in(folder)
            if module_name(path.name) in known_modules
        }
        return found or None
    paths = (line.split(",")[0].strip('"') for line in record.splitlines())
    compiled = (path for path in paths if path.endswith(COMPILED_SUFFIXES))
    return {
        module_name(path): folder / path
        for path in compiled
        if ".libs/" not in path and not path.startswith(("../", "/"))
    }


def _compiled_in(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.suffix in COMPILED_SUFFIXES:
            yield path


def module_name(path: str) -> str:
    """Return ``exllama_kernels`` for a top-level module's file, a deeper path as it is."""
    return path if "/" in path else path.partition(".")[0]


def requirements(distribution: Distribution) -> tuple[str, ...]:
    """Return the ``Requires-Dist`` lines of its metadata."""
    for name in ("METADATA", "PKG-INFO"):
        text = _read_text(distribution.info / name)
        if text is not None:
            head = text.replace("\r\n", "\n").partition("\n\n")[0]
            prefix = "Requires-Dist:"
            return tuple(
                line.removeprefix(prefix).strip()
                for line in head.split("\n")
                if line.startswith(prefix)
            )
    return ()


def of_interest(
    distributions: Mapping[str, Distribution], names: Collection[str]
) -> dict[str, str]:
    """Return name and version of the distributions that doctor has rules for."""
    return {name: one.version for name, one in distributions.items() if name in names}


def _read_text(path: Path) -> str | None:
    try:
        if not path.is_file():  # a pipe would be waited for
            return None
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES).decode("utf-8", "replace")
    except OSError:
        return None
