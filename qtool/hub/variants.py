"""What the hub's metadata says of a quantized model: format, bits, sizes, downloads.

Nothing here is promised by anyone: tags and ``config`` are filled in by the hub where it can, names
follow custom. What cannot be told is None; an entry of the wrong shape is left out.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from qtool.hub.listing import files_of_info
from qtool.hub.repo import RemoteFile
from qtool.models.quants import GgufRole, favourite_label, group_gguf, normalize_quant
from qtool.models.repo_names import is_repo_id

QUANTIZED_TAG = "base_model:quantized:"
_WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")
_FORMAT_IN_NAME = re.compile(r"(?<![a-z0-9])(gptq|awq|gguf)(?![a-z])", re.IGNORECASE)
_BITS_IN_NAME = re.compile(
    r"(?<![a-z0-9])(?:(?:int|w)(?P<int>[2-8])(?=a16|[-_.]|$)|(?P<bit>[2-8])[-_]?bits?(?![a-z]))",
    re.IGNORECASE,
)
_BITS_IN_TAG = re.compile(r"([2-8])-bit")
_BITS_IN_QUANT = re.compile(r"(?:UD-)?[A-Z]+?(\d+)(?![0-9])")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}T[0-9:.]+Z?")


class VariantFormat(StrEnum):
    """Formats that can be asked for; the value is also the hub's tag."""

    GPTQ = "gptq"
    AWQ = "awq"
    GGUF = "gguf"


class FoundBy(StrEnum):
    """Why a repository counts as a variant: it says so, its name does, or it was asked for."""

    BASE_MODEL = "base_model"
    NAME = "name"
    ITSELF = "itself"


@dataclass(frozen=True, slots=True)
class Quant:
    """One quantization in a GGUF repository, all parts of a split file together."""

    label: str
    files: tuple[str, ...]
    size_bytes: int
    bits: int | None


@dataclass(frozen=True, slots=True)
class Variant:
    """A repository with a quantized model.

    ``size_bytes`` is that of the weights one would load: of ``quant`` in a GGUF repository, which
    holds several (``quants``). ``last_modified`` is ISO 8601 as the hub gives it.
    """

    repo_id: str
    format: VariantFormat
    found_by: FoundBy
    bits: int | None = None
    size_bytes: int | None = None
    downloads: int = 0
    last_modified: str | None = None
    is_gated: bool = False
    quant: str | None = None
    quants: tuple[Quant, ...] = ()


def parse_variant(entry: object, found_by: FoundBy) -> Variant | None:
    """Read an entry of the hub's list of models; None for what is no quantized model."""
    if not isinstance(entry, dict):
        return None
    repo_id = entry.get("id", entry.get("modelId"))
    if not isinstance(repo_id, str) or not is_repo_id(repo_id):
        return None
    tags, config = tags_of(entry), _quantization_config(entry)
    variant_format = _format_of(repo_id, tags, config)
    if variant_format is None:
        return None
    is_gguf = variant_format is VariantFormat.GGUF
    date = entry.get("lastModified")
    return Variant(
        repo_id,
        variant_format,
        found_by,
        bits=None if is_gguf else _bits_of(repo_id, tags, config),
        downloads=_count(entry.get("downloads")),
        last_modified=date if isinstance(date, str) and _DATE.fullmatch(date) else None,
        is_gated=entry.get("gated") not in (None, False),
    )


def with_sizes(variant: Variant, info: Mapping[str, Any]) -> Variant:
    """Add what the metadata with ``blobs=true`` tells: sizes, quants, bits."""
    try:
        files = files_of_info(info)
    except ValueError:
        files = None
    if files is None:
        return variant
    if variant.format is not VariantFormat.GGUF:
        bits = variant.bits or _bits_of(variant.repo_id, tags_of(info), _quantization_config(info))
        return replace(variant, size_bytes=_weights_bytes(files), bits=bits)
    quants = _quants_of(files)
    favourite = favourite_quant(quants)
    if favourite is None:
        return variant
    return replace(
        variant,
        size_bytes=favourite.size_bytes,
        bits=favourite.bits,
        quant=favourite.label,
        quants=quants,
    )


def favourite_quant(quants: Sequence[Quant]) -> Quant | None:
    """Return Q4_K_M or what comes next to it, else the smallest; None of none."""
    by_label = {quant.label: quant for quant in quants}
    label = favourite_label(by_label)
    if label is not None:
        return by_label[label]
    return min(quants, key=lambda quant: quant.size_bytes, default=None)


def base_of(info: Mapping[str, Any]) -> str | None:
    """Return the model that a repository says it is a quantized form of."""
    for tag in tags_of(info):
        name = tag.removeprefix(QUANTIZED_TAG)
        if name != tag and is_repo_id(name):
            return name
    return None


def tags_of(info: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the tags that are texts."""
    tags = info.get("tags")
    return tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else ()


def _quantization_config(info: Mapping[str, Any]) -> Mapping[str, Any]:
    config = info.get("config")
    quantization = config.get("quantization_config") if isinstance(config, dict) else None
    return quantization if isinstance(quantization, dict) else {}


def _format_of(
    repo_id: str, tags: Sequence[str], config: Mapping[str, Any]
) -> VariantFormat | None:
    """Judge by the name (the last word counts), then by configuration and tags."""
    in_name = _FORMAT_IN_NAME.findall(repo_id.rpartition("/")[2])
    method = config.get("quant_method")
    candidates = [*in_name[-1:], method if isinstance(method, str) else "", *tags]
    known = {item.value: item for item in VariantFormat}
    return next((known[word.lower()] for word in candidates if word.lower() in known), None)


def _bits_of(repo_id: str, tags: Sequence[str], config: Mapping[str, Any]) -> int | None:
    """Judge by the configuration, then by the name, then by a tag such as ``4-bit``."""
    for key in ("bits", "w_bit"):
        bits = config.get(key)
        if isinstance(bits, int) and not isinstance(bits, bool) and 1 <= bits <= 16:
            return bits
    if match := _BITS_IN_NAME.search(repo_id.rpartition("/")[2]):
        return int(match["int"] or match["bit"])
    matches = (_BITS_IN_TAG.fullmatch(tag) for tag in tags)
    return next((int(match[1]) for match in matches if match), None)


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 2**53 else 0


def _weights_bytes(files: Sequence[RemoteFile]) -> int | None:
    """Return the size of the safetensors at the top, else of the first kind there is."""
    for suffix in _WEIGHT_SUFFIXES:
        sizes = [f.size_bytes for f in files if f.path.endswith(suffix) and "/" not in f.path]
        if sizes:
            return sum(sizes)
    return None


def _quants_of(files: Sequence[RemoteFile]) -> tuple[Quant, ...]:
    """Return the complete models of a GGUF repository, the smallest first."""
    sizes = {file.path: file.size_bytes for file in files if file.path.isprintable()}
    quants = []
    for group in group_gguf(sizes):
        if group.role is GgufRole.MODEL and group.is_complete:
            bits = _BITS_IN_QUANT.match(normalize_quant(group.quant)) if group.quant else None
            size_bytes = sum(sizes[path] for path in group.files)
            quants.append(
                Quant(group.title, group.files, size_bytes, int(bits[1]) if bits else None)
            )
    return tuple(sorted(quants, key=lambda quant: (quant.size_bytes, quant.label)))
