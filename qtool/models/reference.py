"""Parsing what a user types to name a model: a repository, a file or a folder.

Which of them a text means is decided in this order:

1. ``hf://…`` and web addresses (also without ``https://`` for hubs that are known) are hubs'.
2. ``./x``, ``../x``, ``/x``, ``~/x``, ``.``, ``C:\\x``, and whatever ends in ``.gguf`` or
   ``.safetensors`` are paths, whether they exist or not; ``./x:Q8_0`` is a variant in a folder.
3. A name that exists here *as a model* (a GGUF file, or a folder that holds weights or a
   config.json) is that path, even if a hub has a repository of the same name. Any other file or
   folder of that name is not in the way of the repository.
4. Everything else is a repository.

With ``allow_local=False`` only 1 and 4 apply: for `qtool download`, whose own result in
``./name`` must not be taken for its argument when it runs again.
"""

import os
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from qtool.errors import UsageError
from qtool.models.hub_url import RepoType, is_hub_address, parse_hub_address
from qtool.models.repo_names import (
    REFERENCE_HINT,
    bad_reference,
    is_clean,
    parse_repo_name,
    shown,
)
from qtool.models.weight_file import is_file, is_folder

_WEIGHT_SUFFIXES = (".gguf", ".safetensors")
_PATH_STARTS = ("./", "../", "/", "~", "\\", ".\\", "..\\")
_QUANT = re.compile(r"[\w.-]+")
_WINDOWS_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


class ReferenceKind(StrEnum):
    """Where a model is."""

    REPO = "repo"
    FILE = "file"
    FOLDER = "folder"


@dataclass(frozen=True, slots=True)
class Reference:
    """What a user's text means.

    A repository has ``repo_id`` and perhaps ``quant`` (as typed: compare in any case),
    ``revision``, ``filename`` (one file in it) and ``endpoint`` (scheme, host and port of a
    pasted address). A file or folder has ``path``. ``text`` is what was parsed.
    """

    kind: ReferenceKind
    text: str
    repo_id: str | None = None
    repo_type: RepoType = "model"
    quant: str | None = None
    revision: str | None = None
    filename: str | None = None
    endpoint: str | None = None
    path: Path | None = None


def parse_reference(
    text: str, *, default_repo_type: RepoType = "model", allow_local: bool = True
) -> Reference:
    """Parse a reference to a model; looks at the file system for paths that exist.

    Raises:
        UsageError: it cannot be a reference to anything; the message says why.
    """
    if not text.strip() or not is_clean(text):
        bad_reference(text, "is no reference: empty, or with control characters in it")
    is_address = is_hub_address(text)
    if not is_address and _is_path(text):
        if allow_local:
            return _parse_path(text)
        raise UsageError(f"{shown(text)} is a path; a repository is wanted", hint=REFERENCE_HINT)
    if not is_address and allow_local and _holds_model(text):
        return _parse_path(text)
    if " " in text:
        bad_reference(text, "has spaces in it; put ./ in front if it is a file or folder")
    if is_address:
        location = parse_hub_address(text, default_repo_type)
        return Reference(ReferenceKind.REPO, text, **location._asdict())
    repo_id, quant, revision = parse_repo_name(text.rstrip("/"), text)
    return Reference(ReferenceKind.REPO, text, repo_id, default_repo_type, quant, revision)


def _is_path(text: str) -> bool:
    if text in {".", ".."} or text.startswith(_PATH_STARTS) or _WINDOWS_DRIVE.match(text):
        return True
    # org/name:file.gguf names a file of a repository, unless there is a file of that name.
    has_weight_suffix = text.lower().endswith(_WEIGHT_SUFFIXES)
    return has_weight_suffix and (":" not in text or os.path.lexists(text))


def _parse_path(text: str) -> Reference:
    """A path that need not exist: the suffix of weights makes it a file, else it is a folder."""
    try:
        path = Path(text).expanduser()
    except RuntimeError as exc:  # no such user, or no home
        raise UsageError(f"{shown(text)}: {exc}", hint="write the path in full") from exc
    has_suffix = text.lower().endswith(_WEIGHT_SUFFIXES)
    is_a_file = is_file(path) or (has_suffix and not is_folder(path))
    if is_a_file or os.path.lexists(path):
        kind = ReferenceKind.FILE if is_a_file else ReferenceKind.FOLDER
        return Reference(kind, text, path=path)
    folder, colon, quant = text.rpartition(":")
    if colon and _QUANT.fullmatch(quant) and is_folder(Path(folder).expanduser()):
        return Reference(ReferenceKind.FOLDER, text, quant=quant, path=Path(folder).expanduser())
    return Reference(ReferenceKind.FOLDER, text, path=path)


def _holds_model(text: str) -> bool:
    """Whether a file or folder of this name exists and is, or holds, a model."""
    path = Path(text)
    try:
        if path.is_file():
            with path.open("rb") as file:
                return file.read(4) == b"GGUF"
        names = [name.lower() for name in os.listdir(path)]  # noqa: PTH208 - names are enough
    except OSError:
        return False
    return "config.json" in names or any(name.endswith(_WEIGHT_SUFFIXES) for name in names)
