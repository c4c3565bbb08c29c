"""Quantized variants of a model in GGUF, told apart by the names of their files.

There is no rule for these names, only custom: ``Name-Q4_K_M.gguf``, ``name.q4_0.gguf``,
``UD-Q4_K_XL/Name-UD-Q4_K_XL-00001-of-00003.gguf``, ``BF16/model-00001-of-00002.gguf``. Files
beside the model's own: ``mmproj-F16.gguf`` (a vision encoder), ``Name.imatrix.gguf`` (statistics
that were used in quantizing). Everything here works on names alone, local or remote.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from qtool.errors import NotFoundError, UsageError

# Longest alternatives first. UD- is Unsloth's mark of mixed quantization and part of the name.
_QUANT = re.compile(
    r"""(?<![A-Z0-9])(?P<label>(?:UD-)?(?:
        IQ[1-6]_(?:XXS|XS|KSS|KS|KL|KT|NL|XL|XXL|S|M|L|K)(?:_R[48])?
      | Q[1-8]_K(?:_(?:XXL|XXS|XL|XS|S|M|L|P))?
      | Q[1-8]_[01](?:_[48]_[48]|_L|_XL)?
      | TQ[1-2]_0
      | MXFP4(?:_MOE)? | NVFP4
      | BF16 | FP?16 | FP?32 | F64
    ))(?![A-Z0-9]|_(?!v\d)[A-Z0-9])""",
    re.IGNORECASE | re.VERBOSE,
)
_SPLIT = re.compile(r"(?P<prefix>.*)-(?P<part>\d{5})-of-(?P<n_parts>\d{5})\.gguf", re.IGNORECASE)
_MMPROJ = re.compile(r"(?<![a-z0-9])mmproj(?![a-z0-9])", re.IGNORECASE)
_IMATRIX = re.compile(r"(?<![a-z0-9])i-?matrix(?![a-z0-9])", re.IGNORECASE)
_MAX_LISTED = 24
# What is taken where nobody says which: small, and hardly worse than the original.
_FAVOURITES = (
    *("Q4_K_M", "UD-Q4_K_XL", "Q4_K_S", "IQ4_XS", "Q4_0"),
    *("Q5_K_M", "Q5_K_S", "Q6_K", "Q8_0"),
)


class GgufRole(StrEnum):
    """What a GGUF file is for."""

    MODEL = "model"
    MMPROJ = "mmproj"
    IMATRIX = "imatrix"


class SplitPart(NamedTuple):
    """A place among the parts of a split file: number ``part``, from 1, of ``n_parts``."""

    prefix: str
    part: int
    n_parts: int


@dataclass(frozen=True, slots=True)
class GgufVariant:
    """One model in one quantization: a file, or all parts of a split one in order.

    ``quant`` is None where no name tells it; ``missing`` are names of parts that should exist.
    """

    quant: str | None
    files: tuple[str, ...]
    missing: tuple[str, ...] = ()
    role: GgufRole = GgufRole.MODEL

    @property
    def is_complete(self) -> bool:
        return not self.missing

    @property
    def title(self) -> str:
        """What to call it in a list: the label, or the first file's name."""
        return self.quant or self.files[0]


def quant_of(path: str) -> str | None:
    """Return the quantization that a file's name tells, else that of the nearest folder.

    In upper case, with ``FP16`` written ``F16``; the last label in a name counts, since a
    model's own name comes before it.
    """
    *folders, name = path.replace("\\", "/").split("/")
    if split := split_of(name):
        name = split.prefix
    for part in (name.removesuffix(".gguf"), *reversed(folders)):
        labels = _QUANT.findall(part)
        if labels:
            return normalize_quant(labels[-1])
    return None


def normalize_quant(label: str) -> str:
    """Return a label in the one spelling that is used to compare them."""
    return re.sub(r"\bFP(?=16|32)", "F", label.upper())


def favourite_label(labels: Iterable[str]) -> str | None:
    """Return Q4_K_M or what comes next to it; None when nothing comes near."""
    there = set(labels)
    return next((label for label in _FAVOURITES if label in there), None)


def split_of(path: str) -> SplitPart | None:
    """Return the place of ``…-00001-of-00003.gguf`` among its parts; None if it is not one."""
    match = _SPLIT.fullmatch(path)
    if match is None:
        return None
    split = SplitPart(match["prefix"], int(match["part"]), int(match["n_parts"]))
    return split if 1 <= split.part <= split.n_parts else None


def role_of(path: str) -> GgufRole:
    """Tell a model from the files that go with one.

    ``Name.imatrix.gguf`` is an importance matrix; ``Name-imatrix-Q4_K_M.gguf`` is a model made
    with one.
    """
    name = path.rpartition("/")[2]
    if _MMPROJ.search(name):
        return GgufRole.MMPROJ
    if _IMATRIX.search(name) and not _QUANT.search(name):
        return GgufRole.IMATRIX
    return GgufRole.MODEL


def group_gguf(paths: Iterable[str]) -> list[GgufVariant]:
    """Group the GGUF files among ``paths`` into variants, sorted by first file; others are left."""
    groups: dict[tuple[str, int], dict[int, str]] = {}
    for path in sorted(set(paths)):
        if not path.lower().endswith(".gguf"):
            continue
        split = split_of(path)
        if split is None:
            groups[path, 0] = {1: path}
        else:
            groups.setdefault((split.prefix, split.n_parts), {})[split.part] = path
    return [_variant(prefix, n_parts, files) for (prefix, n_parts), files in groups.items()]


def _variant(prefix: str, n_parts: int, files: dict[int, str]) -> GgufVariant:
    parts = [files[part] for part in sorted(files)]
    missing = tuple(
        f"{prefix}-{part:05}-of-{n_parts:05}.gguf"
        for part in range(1, n_parts + 1)
        if part not in files
    )
    return GgufVariant(quant_of(parts[0]), tuple(parts), missing, role_of(parts[0]))


def select_quant(variants: Sequence[GgufVariant], wanted: str | None) -> GgufVariant:
    """Choose the model that ``wanted`` names: a label in any case, or a file's name.

    ``Q4_K_XL`` finds ``UD-Q4_K_XL`` if there is no other. Without ``wanted`` there has to be
    just one model. The choice may be incomplete: see its ``missing``.

    Raises:
        NotFoundError: there is none, or none of that name; the message lists what there is.
        UsageError: there are several.
    """
    models = [variant for variant in variants if variant.role is GgufRole.MODEL]
    if not models:
        raise NotFoundError("there is no GGUF model here")
    found = models if wanted is None else _matches(models, wanted)
    if len(found) == 1:
        return found[0]
    if not found:
        there = "there is" if len(models) == 1 else "there are"
        raise NotFoundError(
            f"there is no quantization {wanted!r} here; {there} {_listed(models)}",
            hint=f"say one of them behind the name, such as :{_suggested(models, wanted or '')}",
        )
    what = "several quantizations" if wanted is None else f"several of the name {wanted!r}"
    raise UsageError(
        f"there are {what} here: {_listed(found)}",
        hint=f"say which, behind the name, such as :{_suggested(found, wanted or '')}",
    )


def _suggested(models: Sequence[GgufVariant], wanted: str) -> str:
    """Return what ``wanted`` is a slip of, else the favourite, else the last one."""
    from difflib import get_close_matches

    titles = [variant.title for variant in models]
    close = get_close_matches(wanted.upper(), titles, n=1, cutoff=0.8)
    return close[0] if close else favourite_label(titles) or titles[-1]


def _matches(models: Sequence[GgufVariant], wanted: str) -> list[GgufVariant]:
    label, name = normalize_quant(wanted), wanted.lower()
    by_label = [model for model in models if model.quant == label]
    by_unsloth = [model for model in models if model.quant == f"UD-{label}"]
    by_file = [
        model
        for model in models
        if name in {model.files[0].lower(), model.files[0].rpartition("/")[2].lower()}
    ]
    return by_label or by_unsloth or by_file


def _listed(variants: Sequence[GgufVariant]) -> str:
    """The labels; where two variants share one, the files instead."""
    titles = [variant.title for variant in variants]
    names = [
        variant.title if titles.count(variant.title) == 1 else variant.files[0]
        for variant in variants
    ]
    rest = len(names) - _MAX_LISTED
    return ", ".join(names[:_MAX_LISTED]) + (f" and {rest} more" if rest > 0 else "")
