"""Where a model that is on this machine already lies."""

from pathlib import Path

from qtool.errors import NotFoundError
from qtool.models.reference import ReferenceKind, parse_reference
from qtool.models.starters import find_starter, starter_path


def locate_model(text: str, *, cache_dir: Path, folder: Path | None = None) -> Path:
    """Return the file or folder that ``text`` means on this machine.

    A path is itself; a starter's name lies in ``cache_dir``; a repository is looked for where
    ``qtool download`` puts it, ``./<name>`` below ``folder`` (default: the current one).

    Raises:
        UsageError: ``text`` is no reference at all.
        NotFoundError: it is not here; the hint says how to fetch it.
    """
    if starter := find_starter(text):
        path = starter_path(starter, cache_dir)
        if path.exists():
            return path
        raise NotFoundError(
            f"the starter model {starter.title} is not here yet", hint=f"qtool download {text}"
        )
    reference = parse_reference(text)
    if reference.kind is not ReferenceKind.REPO:
        if reference.path is None or not reference.path.exists():
            raise NotFoundError(f"there is no file or folder {text}", hint="ls")
        return reference.path
    place = (folder or Path()) / (reference.repo_id or "").rpartition("/")[2]
    if place.is_dir():
        return place
    raise NotFoundError(f"{text} is not on this machine", hint=f"qtool download {text}")
