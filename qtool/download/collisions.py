"""Names that are two on the hub and one on a file system that takes A and a for the same."""

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from qtool.errors import IntegrityError
from qtool.hub.repo import RemoteFile


def check_case(files: Iterable[RemoteFile], folder: Path) -> None:
    """Raise IntegrityError for names that are the same where letter case does not matter.

    ``folder`` is on the file system in question and holds a file ``lock``.
    """
    collision = find_collision(file.path for file in files)
    if collision is not None and os.path.exists(folder / "LOCK"):  # noqa: PTH110
        first, second = collision
        raise IntegrityError(
            f"{first!r} and {second!r} would be one and the same here: {folder} does not tell "
            "upper from lower case",
            hint="choose a folder on another file system: --local-dir DIR; or leave one of them "
            "out with --exclude",
        )


def find_collision(paths: Iterable[str]) -> tuple[str, str] | None:
    """Return two paths that differ in case or composition of letters only, None without any.

    A path also collides with a folder above another one.
    """
    from unicodedata import normalize

    def folded(text: str) -> str:
        return normalize("NFC", normalize("NFC", text).casefold())

    ordered = sorted(paths)
    files: dict[str, str] = {}
    for path in ordered:
        if (other := files.setdefault(folded(path), path)) != path:
            return other, path
    for path in ordered:
        for parent in list(PurePosixPath(path).parents)[:-1]:
            if (file := files.get(folded(str(parent)))) is not None:
                return file, path
    return None
