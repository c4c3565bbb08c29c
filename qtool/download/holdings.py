"""What downloads have left on this machine: folders that qtool fetched, and the Hugging Face cache.

A folder counts as qtool's when it holds qtool's state (``layout.STATE_FOLDER``); its manifest says
which repositories the files are from, of which there may be several. A repository in the Hugging
Face cache counts as qtool's when nobody else has put anything into it. Others are listed as well.
"""

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from qtool.download.begun import partials_of
from qtool.download.cached import is_all_ours
from qtool.download.disk import size_on_disk
from qtool.download.layout import STATE_FOLDER
from qtool.download.manifest import Manifest, Verified
from qtool.download.partials import PARTIAL_FOLDER
from qtool.download.registry import Noted, Registry
from qtool.hub.repo import RepoType
from qtool.models.refetch import SOURCE_FILE, noted_source

log = logging.getLogger(__name__)

_CACHE_PREFIXES = {f"{kind.value}s": kind for kind in RepoType}


class Place(StrEnum):
    """Where something lies, and so what removing it means."""

    FOLDER = "folder"
    CACHE = "cache"
    STARTER = "starter"
    REPACKED = "repacked"


@dataclass(frozen=True, slots=True)
class Holding:
    """Something that takes room. ``path`` is a folder, or the file of a starter or repacked model.

    ``begun_bytes`` of ``size_bytes`` are of files that are not whole yet. ``changed_at`` is in
    seconds since 1970. What is not ``is_ours`` is never removed.
    """

    place: Place
    name: str
    path: Path
    size_bytes: int
    changed_at: float
    begun_bytes: int = 0
    repo_type: RepoType = RepoType.MODEL
    is_ours: bool = True

    @property
    def state_dir(self) -> Path:
        """Return where qtool keeps its notes about a folder or a cached repository."""
        return self.path / STATE_FOLDER

    @property
    def repo_key(self) -> str:
        """Return how those notes name the repository."""
        return f"{self.repo_type}:{self.name}"


def find_folders(registry: Registry, beside: Path) -> Iterator[Holding]:
    """Yield what is in the folders of the registry, and in those in ``beside`` besides."""
    named = {Path(noted.path): noted for noted in registry.all()}
    others = [_resolved(folder) for folder in (beside, *_folders_in(beside))]
    for folder in dict.fromkeys([*named, *others]):
        with _passed_over(folder):
            if has_state(folder) and not _is_cached(folder):
                yield from _in_folder(folder, named.get(folder))
            elif folder in named:
                registry.forget(folder)


def find_cached(cache: Path) -> Iterator[Holding]:
    """Yield the repositories of a Hugging Face cache."""
    for folder in _folders_in(cache):
        kind, _, name = folder.name.partition("--")
        if kind not in _CACHE_PREFIXES or not name:
            continue
        with _passed_over(folder):
            yield _cached(folder, name.replace("--", "/"), _CACHE_PREFIXES[kind])


def has_state(folder: Path) -> bool:
    """Return whether qtool has downloaded to ``folder``, and its notes lie there.

    Raises OSError where that cannot be read.
    """
    state_dir = folder / STATE_FOLDER
    if state_dir.is_symlink() or state_dir.parent.is_symlink():
        return False  # it is another folder's
    is_begun = (state_dir / "lock").is_file() or (state_dir / PARTIAL_FOLDER).is_dir()
    return is_begun or (state_dir / "manifest").is_file()


def _is_cached(folder: Path) -> bool:
    """Return whether a folder is a repository of a cache, wherever that is."""
    is_named = folder.name.partition("--")[0] in _CACHE_PREFIXES
    return is_named and any((folder / name).is_dir() for name in ("blobs", "snapshots"))


def _in_folder(folder: Path, noted: Noted | None) -> Iterator[Holding]:
    """Yield a holding for each repository that files of a folder are from.

    Files that were there before go with the one that the folder is named after.
    """
    state_dir = folder / STATE_FOLDER
    manifest, partial = state_dir / "manifest", state_dir / PARTIAL_FOLDER
    begun = partials_of(partial)
    changed_at = max(one.stat().st_mtime for one in (manifest, state_dir) if one.exists())
    main = _main_key(folder, noted)
    entries: dict[str, list[Verified]] = {}
    for entry in Manifest(manifest).entries():
        entries.setdefault(entry.fetched_from or main, []).append(entry)
    for key in sorted({*entries, *(owner or main for owner in begun)} or {main}):
        own = entries.get(key, [])
        parts = [*begun.get(key, []), *(begun.get(None, []) if key == main else [])]
        begun_bytes = sum(map(size_on_disk, parts))
        kind, _, name = key.partition(":")
        yield Holding(
            Place.FOLDER,
            name,
            folder,
            sum(_size_of(folder / entry.path) for entry in own) + begun_bytes,
            changed_at,
            begun_bytes,
            _repo_type(kind),
            is_ours=bool(parts) or not own or any(entry.fetched_from for entry in own),
        )


def _main_key(folder: Path, noted: Noted | None) -> str:
    """Return the repository that a folder was used for last, by its own note or the registry's."""
    # A pipe in its place would never answer.
    source = noted_source(folder) if (folder / SOURCE_FILE).is_file() else None
    if source is None:
        return f"{noted.repo_type}:{noted.repo_id}" if noted else f"{RepoType.MODEL}:{folder.name}"
    is_same = noted is not None and noted.repo_id == source.repo_id
    return f"{noted.repo_type if noted and is_same else RepoType.MODEL}:{source.repo_id}"


def _cached(folder: Path, name: str, repo_type: RepoType) -> Holding:
    files = [*_files_below(folder / "blobs"), *_files_below(folder / "snapshots")]
    begun = partials_of(folder / STATE_FOLDER / PARTIAL_FOLDER)
    begun_bytes = sum(size_on_disk(part) for parts in begun.values() for part in parts)
    manifest = Manifest(folder / STATE_FOLDER / "manifest")
    return Holding(
        Place.CACHE,
        name,
        folder,
        sum(map(_size_of, files)) + begun_bytes,
        max(one.stat().st_mtime for one in (folder / "snapshots", folder) if one.exists()),
        begun_bytes,
        repo_type,
        is_ours=has_state(folder) and is_all_ours(folder, manifest, f"{repo_type}:{name}"),
    )


@contextlib.contextmanager
def _passed_over(folder: Path) -> Iterator[None]:
    """Leave a folder out that cannot be read, is being removed, or has a name no disk takes."""
    try:
        yield
    except (OSError, ValueError) as exc:
        log.debug("%s is passed over: %s", folder, exc)


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return 0


def _repo_type(text: str) -> RepoType:
    return RepoType(text) if text in set(RepoType) else RepoType.MODEL


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a circle of links
        return path


def _folders_in(folder: Path) -> tuple[Path, ...]:
    try:
        with os.scandir(folder) as entries:
            # os.path, which raises for none of them.
            return tuple(sorted(Path(one.path) for one in entries if os.path.isdir(one.path)))  # noqa: PTH112
    except OSError:
        return ()


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield regular files; links, as those of a snapshot, take no room."""
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            if not path.is_symlink() and path.is_file():
                yield path
