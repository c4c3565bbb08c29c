"""Whether the user has to be asked which quantization of a GGUF repository is wanted. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qtool.download.plan import USUAL_QUANT, Selection
from qtool.errors import NotFoundError, UsageError
from qtool.hub.paths import has_control
from qtool.hub.repo import Listing
from qtool.models.quants import GgufRole, GgufVariant, group_gguf, select_quant


@dataclass(frozen=True, slots=True)
class QuantOption:
    """One quantization to choose: ``name`` is its label, or its file where that is not enough."""

    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class QuantQuestion:
    """The quantizations of a repository, smallest first; ``wanted`` is what does not name one."""

    repo_id: str
    options: tuple[QuantOption, ...]
    wanted: str | None = None


AskQuant = Callable[[QuantQuestion], str]
"""Returns the name of the option that the user takes."""


def settle_quant(listing: Listing, selection: Selection, ask: AskQuant | None) -> Selection:
    """Return the selection, completed by the answer to the question if there is one."""
    question = quant_question(listing, selection) if ask is not None else None
    if ask is None or question is None:
        return selection
    name = ask(question)
    if question.wanted is not None:
        return replace(selection, quant=name)
    return replace(selection, usual_quant=name)


def quant_question(listing: Listing, selection: Selection) -> QuantQuestion | None:
    """Return what to ask, None where files are named or the choice is clear."""
    if selection.files or selection.include:
        return None
    paths = [file.path for file in listing.files if not has_control(file.path)]
    if selection.quant is None and any(path.endswith(".safetensors") for path in paths):
        return None
    models = [one for one in group_gguf(paths) if one.role is GgufRole.MODEL and not one.missing]
    if not models or _is_clear(models, selection.quant):
        return None
    options = _options(models, {file.path: file.size_bytes for file in listing.files})
    return QuantQuestion(listing.repo.repo_id, options, selection.quant)


def folder_question(folder: Path) -> QuantQuestion | None:
    """Return what to ask of the GGUF models in a folder, None where there are not several."""
    # A download from a hub has no need to know how models are read: 15 ms.
    from qtool.models.formats import holds_checkpoint
    from qtool.models.gguf_model import find_variants
    from qtool.models.local import title_of

    models = [
        one for one in find_variants(folder) if one.role is GgufRole.MODEL and not one.missing
    ]
    if len(models) < 2 or holds_checkpoint(folder):
        return None
    sizes = {path: (folder / path).stat().st_size for model in models for path in model.files}
    return QuantQuestion(title_of(folder) or str(folder), _options(models, sizes))


def default_option(question: QuantQuestion, fits: Callable[[int], bool | None]) -> QuantOption:
    """Return Q4_K_M unless it is not there or does not fit; then the largest below that fits.

    Above it, unquantized weights are nobody's default. Where nothing fits, the smallest.
    """
    usual = [option for option in question.options if option.name.endswith(USUAL_QUANT)]
    if usual and fits(usual[0].size_bytes) is not False:
        return usual[0]
    quantized = [one for one in question.options if one.name not in ("F16", "BF16", "F32")]
    fitting = [one for one in quantized if fits(one.size_bytes) is not False]
    return (fitting or list(question.options[:1]))[-1]


def _is_clear(models: Sequence[GgufVariant], quant: str | None) -> bool:
    try:
        select_quant(models, quant)
    except (NotFoundError, UsageError):
        return False
    return True


def _options(models: Sequence[GgufVariant], sizes: Mapping[str, int]) -> tuple[QuantOption, ...]:
    """Return the options, smallest first; ``sizes`` in bytes by path."""
    titles = [model.title for model in models]
    options = [
        QuantOption(
            model.title if titles.count(model.title) == 1 else model.files[0],
            sum(sizes[path] for path in model.files),
        )
        for model in models
    ]
    return tuple(sorted(options, key=lambda option: option.size_bytes))
