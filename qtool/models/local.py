"""Where a model that is on this machine already lies."""

from dataclasses import dataclass
from pathlib import Path

from qtool.errors import NotFoundError
from qtool.language.message import say
from qtool.models.downloaded import find_downloaded
from qtool.models.hub_cache import find_in_hub_cache
from qtool.models.reference import Reference, ReferenceKind, parse_reference
from qtool.models.starters import find_starter, load_starters, starter_path


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A file or folder, and which of the folder's GGUF variants is meant."""

    path: Path
    quant: str | None = None


def title_of(path: Path) -> str:
    """Return what to call the model at ``path``: its name, in the cache ``org/name[/file]``.

    There the folder's own name is that of a commit.
    """
    for place in (path, *path.parents):
        repo = place.parent.parent.name
        if place.parent.name == "snapshots" and repo.startswith("models--"):
            name = repo.removeprefix("models--").replace("--", "/")
            return "/".join([name, *path.relative_to(place).parts])
    return path.name


def locate_model(
    text: str, *, cache_dir: Path, folder: Path | None = None, hub_cache: Path | None = None
) -> LocalModel:
    """Return what ``text`` means on this machine.

    A path is itself, there or not; a starter's name lies in ``cache_dir``; for a repository see
    ``find_repository``.

    Raises:
        UsageError: ``text`` is no reference at all.
        NotFoundError: the starter or repository is not here; the hint says how to fetch it.
    """
    if starter := find_starter(text):
        path = starter_path(starter, cache_dir)
        if path.exists():
            return LocalModel(path)
        raise NotFoundError(
            say("the starter model {title} is not here yet", title=starter.title),
            hint=f"qtool download {text}",
        )
    reference = parse_reference(text)
    if reference.kind is not ReferenceKind.REPO:
        return LocalModel(reference.path or Path(text), reference.quant)
    if found := find_repository(reference, folder=folder, hub_cache=hub_cache):
        return found
    if "/" not in (reference.repo_id or ""):
        names = ", ".join(["starter", *(one.name for one in load_starters())])
        raise NotFoundError(
            say(
                "there is no model {name} here: neither a file, nor a folder, nor one of {names}",
                name=text,
                names=names,
            ),
            hint=say(
                "qtool find {name} lists repositories of that name, to be given as org/name;"
                " starter is a small model that needs no hub",
                name=reference.repo_id,
            ),
        )
    told = say("{name} is not on this machine", name=text)
    raise NotFoundError(told, hint=f"qtool download {text}")


def find_repository(
    reference: Reference, *, folder: Path | None = None, hub_cache: Path | None = None
) -> LocalModel | None:
    """Return what is here of a repository, None where it is not what ``reference`` names.

    It is looked for where ``qtool download`` puts it, ``./<name>`` below ``folder`` (default: the
    current one), if qtool noted that it is that repository; then in ``hub_cache``, the Hugging
    Face cache.
    """
    found = find_downloaded(reference, folder or Path())
    if found is None and hub_cache is not None:
        found = find_in_hub_cache(reference, hub_cache)
    if found is None:
        return None
    return LocalModel(found, reference.quant if found.is_dir() else None)
