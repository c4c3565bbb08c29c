"""Which repository a model on the disk is from, or was made of, as far as its files tell."""

import re
from pathlib import Path

from qtool.errors import QtoolError
from qtool.models.json_file import read_json_fields
from qtool.models.local import title_of
from qtool.models.refetch import noted_source
from qtool.models.repo_names import is_repo_id

_SIZE = re.compile(r"(?<![a-z0-9])\d+(?:\.\d+)?(?:x\d+)?[bm](?![a-z0-9])", re.IGNORECASE)


def find_origin(path: Path) -> str | None:
    """Return ``org/name`` of the repository that a folder or a file in it is from.

    That is its place in the Hugging Face cache, qtool's own note, or the ``_name_or_path`` that
    transformers writes into ``config.json``. ``None`` where nothing tells.
    """
    folder = path if path.is_dir() else path.parent
    if (cached := "/".join(title_of(folder.absolute()).split("/")[:2])).count("/"):
        return cached
    if noted := noted_source(folder):
        return noted.repo_id
    try:
        written = read_json_fields(folder / "config.json").text("_name_or_path") or ""
    except (QtoolError, OSError):
        return None
    return written if "/" in written and is_repo_id(written) else None


def is_telling(name: str) -> bool:
    """Tell whether a hub may know a model of that name: such names say how large it is."""
    return _SIZE.search(name) is not None
