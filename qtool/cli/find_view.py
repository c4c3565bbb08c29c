"""What ``qtool find`` shows: a table that survives 80 columns, or one JSON object."""

import shutil
from collections.abc import Iterator
from typing import Any

from qtool.cli.machine_memory import MachineMemory
from qtool.hub.find import Found
from qtool.hub.variants import FoundBy, Quant, Variant, VariantFormat
from qtool.output import Output, Style
from qtool.units import format_size

HEADER = "FORMAT BITS    SIZE DOWNLOADS UPDATED FITS  "
_FITS_WORDS = {True: "yes", False: "no", None: "?"}


def to_json(found: Found, memory: MachineMemory) -> dict[str, Any]:
    """Return the documented object."""
    return {
        "model": found.model,
        "base_model": found.base,
        "endpoint": found.endpoint,
        "n_found": found.n_found,
        "variants": [_variant_to_json(variant, memory) for variant in found.variants],
    }


def render(
    found: Found, memory: MachineMemory, output: Output, asked: VariantFormat | None
) -> Iterator[str]:
    """Yield the lines of the table, of one repository's quants, and of what to do next."""
    width = shutil.get_terminal_size().columns
    shown = "" if found.n_found == len(found.variants) else f", {len(found.variants)} shown"
    yield f"{output.paint(found.base, Style.BOLD)}: {_count(found.n_found)}{shown}"
    yield ""
    yield HEADER + "REPOSITORY"
    for variant in found.variants:
        yield from _row(variant, memory, width)
    if any(variant.found_by is FoundBy.NAME for variant in found.variants):
        yield ""
        yield "* by its name; it does not say what it was made from"
    if (listed := _listed(found, asked)) is not None:
        yield ""
        yield f"{listed.repo_id} holds:"
        yield from (_quant_row(quant, memory) for quant in listed.quants)
    yield f"next: qtool download {next_reference(found, memory, asked)}"


def next_reference(found: Found, memory: MachineMemory, asked: VariantFormat | None) -> str:
    """Return the first that fits, else the first of all; with its quant in GGUF."""
    listed = _listed(found, asked)
    candidates = [listed] if listed else list(found.variants)
    fitting = (variant for variant in candidates if memory.fits(variant.size_bytes))
    variant = next(fitting, candidates[0])
    quants = [quant for quant in variant.quants if memory.fits(quant.size_bytes)]
    is_too_large = memory.fits(variant.size_bytes) is False
    label = quants[-1].label if quants and is_too_large else variant.quant
    return variant.repo_id + (f":{label}" if label and not label.endswith(".gguf") else "")


def _listed(found: Found, asked: VariantFormat | None) -> Variant | None:
    """Return the repository whose quants are listed: the one asked for, else the first in GGUF."""
    itself = [v for v in found.variants if v.repo_id == found.model and v.quants]
    first = [v for v in found.variants if v.quants] if asked is VariantFormat.GGUF else []
    return next(iter(itself + first), None)


def _row(variant: Variant, memory: MachineMemory, width: int) -> Iterator[str]:
    size = "?" if variant.size_bytes is None else format_size(variant.size_bytes)
    fits = _FITS_WORDS[memory.fits(variant.size_bytes)]
    cells = (
        f"{variant.format:<6} {variant.bits or '?':>4} {size:>7} {_short(variant.downloads):>9} "
        f"{(variant.last_modified or '?')[:7]:<7} {fits:<4}  "
    )
    name = variant.repo_id + ("*" if variant.found_by is FoundBy.NAME else "")
    if len(cells) + len(name) <= width:
        yield cells + name
    else:
        yield cells.rstrip()
        yield f"        {name}"


def _quant_row(quant: Quant, memory: MachineMemory) -> str:
    fits = {True: "fits", False: "does not fit", None: ""}[memory.fits(quant.size_bytes)]
    parts = f"{len(quant.files)} parts" if len(quant.files) > 1 else ""
    return f"  {quant.label:<14}  {format_size(quant.size_bytes):>7}  {fits:<12}  {parts}".rstrip()


def _variant_to_json(variant: Variant, memory: MachineMemory) -> dict[str, Any]:
    data: dict[str, Any] = {
        "repo": variant.repo_id,
        "format": variant.format.value,
        "bits": variant.bits,
        "size_bytes": variant.size_bytes,
        "downloads": variant.downloads,
        "last_modified": variant.last_modified,
        "fits": memory.fits(variant.size_bytes),
        "found_by": variant.found_by.value,
        "is_gated": variant.is_gated,
    }
    if variant.format is not VariantFormat.GGUF:
        return data
    quants = [_quant_to_json(quant, memory) for quant in variant.quants]
    return data | {"quant": variant.quant, "quants": quants}


def _quant_to_json(quant: Quant, memory: MachineMemory) -> dict[str, Any]:
    return {
        "quant": quant.label,
        "bits": quant.bits,
        "size_bytes": quant.size_bytes,
        "files": list(quant.files),
        "fits": memory.fits(quant.size_bytes),
    }


def _short(count: int) -> str:
    """Return ``950``, ``12k``, ``3.4M``."""
    for factor, unit in ((1_000_000, "M"), (1000, "k")):
        if count >= factor:
            number = count / factor
            return f"{number:.1f}{unit}" if number < 9.95 else f"{number:.0f}{unit}"
    return str(count)


def _count(n_variants: int) -> str:
    return "1 quantized variant" if n_variants == 1 else f"{n_variants} quantized variants"
