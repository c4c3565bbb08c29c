"""Facts as data: what is known of packages, GPUs and drivers, each with its source.

``*.json`` in this folder follow ``schema.json``; a new release is one line in a file. Files are
read when first asked for.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from qtool.doctor.versions import Capability, is_within, parse_capability


@dataclass(frozen=True, slots=True)
class BuiltFor:
    """The torch releases on which a package's published kernels load."""

    torch: str  # a version specifier
    words: str


@dataclass(frozen=True, slots=True)
class TorchIndex:
    """Wheels of torch for one CUDA: the releases and GPUs that they serve.

    ``tag`` names one of PyTorch's own indexes, ``None`` is PyPI and every mirror of it.
    """

    tag: str | None
    torch: str  # a version specifier
    lowest: Capability
    highest: Capability
    cuda_major: int


@cache
def _subject(name: str) -> dict[str, Any]:
    text = files(__name__).joinpath(f"{name}.json").read_text(encoding="utf-8")
    return {key: fact["value"] for key, fact in json.loads(text)["facts"].items()}


def fact(subject: str, name: str) -> Any:
    """Return the value of the fact ``name`` in ``<subject>.json``."""
    return _subject(subject)[name]


def capability(subject: str, name: str) -> Capability:
    """Return a compute capability that is a fact, as (major, minor)."""
    return parse_capability(fact(subject, name)) or (0, 0)


def built_for(package: str, version: str) -> BuiltFor | None:
    """Return the torch that the published kernels of ``package`` load on, if it is known."""
    subject = {"auto-gptq": "auto_gptq", "autoawq-kernels": "autoawq"}.get(package)
    if subject is None:
        return None
    for row in fact(subject, "loads_on_torch"):
        if is_within(version, row["versions"]):
            return BuiltFor(row["torch"], row["words"])
    return None


def kernel_for_torch(package: str, torch_version: str) -> str | None:
    """Return the newest exact version of ``package`` whose wheel loads on ``torch_version``."""
    exact = {"autoawq-kernels": ("0.0.9", "0.0.7", "0.0.6"), "auto-gptq": ("0.7.1", "0.6.0")}
    for version in exact.get(package, ()):
        built = built_for(package, version)
        if built and is_within(torch_version, built.torch):
            return version
    return None


def built_for_by_symbol(symbol: str) -> str | None:
    """Return in words the torch that a module asking for ``symbol`` was built for."""
    for row in fact("flash_attn", "symbols"):
        is_it = symbol.startswith(row["symbol"]) if row["is_prefix"] else symbol == row["symbol"]
        if is_it:
            return str(row["words"])
    return None


@cache
def torch_indexes() -> tuple[TorchIndex, ...]:
    """Return PyTorch's CUDA wheel indexes, oldest CUDA first."""
    return _indexes("index_torch")


@cache
def pypi_torch() -> tuple[TorchIndex, ...]:
    """Return what PyPI's wheels of torch for Linux on x86-64 are, oldest first."""
    return _indexes("pypi_cuda")


def _indexes(name: str) -> tuple[TorchIndex, ...]:
    return tuple(
        TorchIndex(
            tag=row.get("tag"),
            torch=row["torch"],
            lowest=parse_capability(row["lowest"]) or (0, 0),
            highest=parse_capability(row["highest"]) or (0, 0),
            cuda_major=row["major"],
        )
        for row in fact("torch", name)
    )


def capability_by_name(gpu_name: str) -> Capability | None:
    """Return the compute capability of a GPU known by name only, unless the name is ambiguous."""
    key = _lookup_name(gpu_name, fact("gpus", "capabilities"))
    return parse_capability(fact("gpus", "capabilities")[key]) if key else None


def bandwidth_bytes_per_s(gpu_name: str) -> float | None:
    """Return a GPU's memory bandwidth by its name, where it is known."""
    table = fact("gpus", "bandwidth_gb_per_s")
    key = _lookup_name(gpu_name, fact("gpus", "capabilities"))
    return table[key] * 1e9 if key in table else None


def _lookup_name(gpu_name: str, table: dict[str, Any]) -> str | None:
    """Find the longest name of the table that stands in ``gpu_name`` as whole words.

    NVML adds a vendor's prefix and a memory or laptop suffix: ``NVIDIA A100-SXM4-40GB``.
    """
    words = _words(gpu_name)
    best: str | None = None
    for name in table:
        wanted = _words(name)
        if _contains(words, wanted) and (best is None or len(wanted) > len(_words(best))):
            best = name
    if best is None and words in [_words(name) for name in fact("gpus", "ambiguous_names")]:
        return None
    return best


def _words(name: str) -> list[str]:
    for mark in "-()/,":
        name = name.replace(mark, " ")
    return [word for word in name.lower().split() if word not in ("nvidia", "geforce", "tesla")]


def _contains(words: list[str], wanted: list[str]) -> bool:
    width = len(wanted)
    return any(words[i : i + width] == wanted for i in range(len(words) - width + 1))
