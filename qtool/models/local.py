"""Where a model that is on this machine already lies."""

from dataclasses import dataclass
from pathlib import Path

from qtool.errors import NotFoundError
from qtool.models.hub_cache import find_in_hub_cache
from qtool.models.reference import ReferenceKind, parse_reference
from qtool.models.starters import find_starter, load_starters, starter_path


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A file or folder, and which of the folder's GGUF variants is meant."""

    path: Path
    quant: str | None = None


def title_of(path: Path) -> str:
    """Return what to call the model at ``path``: its name, and not a commit of the cache's."""
    if path.parent.name == "snapshots":
        return path.parent.parent.name.rpartition("--")[2]
    return path.name


def locate_model(
    text: str, *, cache_dir: Path, folder: Path | None = None, hub_cache: Path | None = None
) -> LocalModel:
    """Return what ``text`` means on this machine.

    A path is itself, there or not; a starter's name lies in ``cache_dir``; a repository is looked
    for where ``qtool download`` puts it, ``./<name>`` below ``folder`` (default: the current one),
    and in ``hub_cache``, the Hugging Face cache.

    Raises:
        UsageError: ``text`` is no reference at all.
        NotFoundError: the starter or repository is not here; the hint says how to fetch it.
    """
    if starter := find_starter(text):
        path = starter_path(starter, cache_dir)
        if path.exists():
            return LocalModel(path)
        raise NotFoundError(
            f"the starter model {starter.title} is not here yet", hint=f"qtool download {text}"
        )
    reference = parse_reference(text)
    if reference.kind is not ReferenceKind.REPO:
        return LocalModel(reference.path or Path(text), reference.quant)
    place = (folder or Path()) / (reference.repo_id or "").rpartition("/")[2]
    if place.is_dir():
        return LocalModel(place, reference.quant)
    if hub_cache is not None and (found := find_in_hub_cache(reference, hub_cache)):
        return LocalModel(found, reference.quant)
    if "/" not in (reference.repo_id or ""):
        names = ", ".join(["starter", *(one.name for one in load_starters())])
        raise NotFoundError(
            f"there is no model {text} here: neither a file, nor a folder, nor one of {names}",
            hint="qtool chat starter",
        )
    raise NotFoundError(f"{text} is not on this machine", hint=f"qtool download {text}")
