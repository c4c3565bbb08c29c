"""Downloads that have not ended: what lies in a state folder, and for which repository."""

import re
from pathlib import Path

from qtool.download.journal import read_owner

_PART = re.compile(r"[0-9a-f]{32}\.part")


def partials_of(folder: Path) -> dict[str | None, list[Path]]:
    """Return the partial files of a folder by repository (as of ``partials.repo_key``).

    Those whose journal is gone or torn come under None. Raises OSError.
    """
    if folder.is_symlink() or not folder.is_dir():  # a link leads to what is another folder's
        return {}
    found: dict[str | None, list[Path]] = {}
    for part in sorted(folder.iterdir()):
        if _PART.fullmatch(part.name) and not part.is_symlink():
            found.setdefault(_owner(part.with_suffix(".journal")), []).append(part)
    return found


def _owner(journal: Path) -> str | None:
    return read_owner(journal.read_bytes()) if journal.is_file() else None
