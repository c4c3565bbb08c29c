"""CUDA toolkits and ROCm on this machine, and the packages that conda has put into a prefix."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from qtool.doctor.snapshot import UNKNOWN, Maybe, Unknown

ROOT = Path("/")
MAX_TEXT_BYTES = 100_000
_TOOLKIT_PLACES = ("usr/local/cuda*", "opt/cuda*")
_CONDA_RECORD = re.compile(r"(?P<name>.+)-(?P<version>[^-]+)-[^-]+\.json")


def find_cuda_toolkits(environ: Mapping[str, str], root: Path = ROOT) -> dict[str, str]:
    """Return the CUDA toolkits by folder, links resolved; an unreadable version is ``?``."""
    found: dict[str, str] = {}
    for folder in _toolkit_folders(environ, root):
        real = folder.resolve()
        if (real / "bin").is_dir():
            found.setdefault(str(real), _toolkit_version(real) or "?")
    return dict(sorted(found.items()))


def _toolkit_folders(environ: Mapping[str, str], root: Path) -> Iterator[Path]:
    for name in ("CUDA_HOME", "CUDA_PATH"):
        if environ.get(name):
            yield Path(environ[name])
    for place in _TOOLKIT_PLACES:
        yield from root.glob(place)


def _toolkit_version(folder: Path) -> str | None:
    """Read version.json (CUDA 11.1 and later), version.txt (earlier), else the folder's name."""
    try:
        known = json.loads(_read(folder / "version.json") or "{}")
        return str(known["cuda"]["version"])
    except (ValueError, KeyError, TypeError):
        match = re.search(r"CUDA Version ([\d.]+)", _read(folder / "version.txt") or "")
    match = match or re.search(r"cuda-(\d+(?:\.\d+)*)$", folder.name)
    return match[1] if match else None


def read_rocm(root: Path = ROOT) -> Maybe[str]:
    """Return the version of ROCm in its usual folder, ``None`` if it is not there."""
    folder = root / "opt/rocm"
    if not folder.is_dir():
        return None
    match = re.match(r"\d+\.\d+(\.\d+)?", _read(folder / ".info/version") or "")
    return match[0] if match else UNKNOWN


def read_conda(prefix: Path) -> dict[str, str] | Unknown | None:
    """Return what conda has installed into ``prefix``, ``None`` if it is no environment of its.

    The names of its records tell: ``numpy-1.26.4-py310hb13e2d6_0.json``.

    Raises:
        OSError: the records cannot be listed.
    """
    records = prefix / "conda-meta"
    if not records.is_dir():
        return None
    matches = (_CONDA_RECORD.fullmatch(path.name) for path in records.iterdir())
    return dict(sorted((match["name"], match["version"]) for match in matches if match))


def _read(path: Path) -> str | None:
    try:
        if not path.is_file():  # a pipe would be waited for
            return None
        with path.open("rb") as file:
            return file.read(MAX_TEXT_BYTES).decode("utf-8", "replace")
    except OSError:
        return None
