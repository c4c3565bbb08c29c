"""What is there in place of a file or folder that is not: its name was mistyped, mostly."""

import os
import shlex
from difflib import get_close_matches
from pathlib import Path

MAX_LISTED = 5
_MODEL_SUFFIXES = (".gguf", ".safetensors")


def nearby_hint(path: Path) -> str:
    """Return a hint for ``path``, which does not exist: what it may be a slip of, or what is there.

    Only names of models count, and of folders.
    """
    parent = path.parent
    if not parent.is_dir():
        return f"there is no folder {parent} either"
    names = _models_in(parent)
    if close := get_close_matches(path.name, names, n=1):
        return f"did you mean {shlex.quote(str(parent / close[0]))}?"
    files = [name for name in names if name.lower().endswith(_MODEL_SUFFIXES)]
    where = "the current folder" if parent == Path() else str(parent)
    if not files:
        return f"there is no model file in {where}; qtool find NAME lists what hubs have"
    rest = " …" if len(files) > MAX_LISTED else ""
    return f"in {where} there is: {', '.join(files[:MAX_LISTED])}{rest}"


def _models_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                entry.name
                for entry in entries
                if entry.name.lower().endswith(_MODEL_SUFFIXES)
                or (entry.is_dir() and not entry.name.startswith("."))
            )
    except OSError:
        return []
