"""Which folders downloads went to, so that they can be found again: one small file each.

Nothing depends on it but ``qtool models``: a note that cannot be written is not missed, one whose
folder is gone is removed.
"""

import hashlib
import json
import logging
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from qtool.download.disk import create_file
from qtool.hub.repo import RepoRef

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Noted:
    """A folder that a repository was downloaded to."""

    path: str
    repo_id: str
    repo_type: str


class Registry:
    """The notes of all folders, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def note(self, target: Path, repo: RepoRef) -> None:
        """Remember that ``repo`` goes to ``target``, unless that is known or cannot be written."""
        noted = Noted(str(target.resolve()), repo.repo_id, repo.repo_type.value)
        path = self._path_of(noted.path)
        try:
            if _read(path) != noted:
                create_file(path, json.dumps(asdict(noted)).encode(), is_synced=False)
        except OSError as exc:
            log.debug("%s: not noted among the downloads: %s", target, exc)

    def all(self) -> Iterator[Noted]:
        """Yield the folders that are there, and forget those that are gone for good."""
        for path in sorted(self._folder.glob("*.json")):
            noted = _read(path)
            try:
                is_there = noted is not None and _is_there(Path(noted.path))
            except (OSError, ValueError) as exc:
                log.debug("%s: passed over: %s", path, exc)
                continue
            if noted is not None and is_there:
                yield noted
            else:
                log.debug("%s: nothing there any more", path)
                self._remove(path)

    def forget(self, target: Path) -> None:
        """Remove the note about a folder."""
        self._remove(self._path_of(str(target.resolve())))

    def _path_of(self, target: str) -> Path:
        name = hashlib.sha256(target.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        return self._folder / f"{name}.json"

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as exc:
            log.debug("%s: %s", path, exc)


def _is_there(folder: Path) -> bool:
    """Return whether a folder is there.

    Raises OSError or ValueError where that cannot be told: what it lies in is closed to us, or not
    there either, as on a disk that is not mounted just now.
    """
    folder.parent.stat()
    try:
        return stat.S_ISDIR(folder.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _read(path: Path) -> Noted | None:
    try:
        noted = Noted(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    is_sound = all(isinstance(value, str) for value in asdict(noted).values())
    return noted if is_sound and Path(noted.path).is_absolute() else None
