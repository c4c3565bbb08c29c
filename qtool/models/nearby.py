"""What is there in place of a file or folder that is not: its name was mistyped, mostly."""

import os
import shlex
from difflib import get_close_matches
from pathlib import Path

from qtool.language.message import say

MAX_LISTED = 5
_MODEL_SUFFIXES = (".gguf", ".safetensors")


def nearby_hint(path: Path) -> str:
    """Return a hint for ``path``, which does not exist: what it may be a slip of, or what is there.

    Only names of models count, and of folders.
    """
    parent = path.parent
    if not parent.is_dir():
        return say("there is no folder {folder} either", folder=parent)
    names = _models_in(parent)
    if close := get_close_matches(path.name, names, n=1):
        return say("did you mean {path}?", path=shlex.quote(str(parent / close[0])))
    files = [name for name in names if name.lower().endswith(_MODEL_SUFFIXES)]
    where = say("the current folder") if parent == Path() else str(parent)
    if not files:
        return say(
            "there is no model file in {folder}; qtool find NAME lists what hubs have", folder=where
        )
    rest = " …" if len(files) > MAX_LISTED else ""
    listed = f"{', '.join(files[:MAX_LISTED])}{rest}"
    return say("in {folder} there is: {names}", folder=where, names=listed)


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
