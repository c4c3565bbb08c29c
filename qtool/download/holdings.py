"""What downloads have left on this machine: folders that qtool fetched, and the Hugging Face cache.

A folder counts as qtool's when it holds qtool's state (``layout.STATE_FOLDER``). In the Hugging
Face cache there are also repositories that other programs fetched; they are listed, but not ours.
"""

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from qtool.download.disk import size_on_disk
from qtool.download.layout import STATE_FOLDER
from qtool.download.manifest import Manifest
from qtool.download.partials import PARTIAL_FOLDER
from qtool.download.registry import Registry
from qtool.hub.repo import RepoType
from qtool.models.refetch import noted_source

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


def find_folders(registry: Registry, beside: Path) -> Iterator[Holding]:
    """Yield the folders of the registry, and those in ``beside`` that it does not know."""
    named = {Path(noted.path): noted for noted in registry.all()}
    others = [folder.resolve() for folder in (beside, *_folders_in(beside))]
    for folder in dict.fromkeys([*named, *others]):
        noted, source = named.get(folder), noted_source(folder)
        name = noted.repo_id if noted else source.repo_id if source else folder.name
        kind = noted.repo_type if noted else RepoType.MODEL.value
        with _passed_over(folder):
            if has_state(folder):
                yield _folder(folder, name, _repo_type(kind))
            elif noted:
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
    """Return whether qtool has downloaded to ``folder``."""
    return (folder / STATE_FOLDER).is_dir()


def _folder(folder: Path, name: str, repo_type: RepoType) -> Holding:
    state_dir = folder / STATE_FOLDER
    manifest = state_dir / "manifest"
    begun_bytes = _begun_bytes(folder)
    sizes = (_size_of(folder / entry.path) for entry in Manifest(manifest).entries())
    return Holding(
        Place.FOLDER,
        name,
        folder,
        sum(sizes) + begun_bytes,
        max(one.stat().st_mtime for one in (manifest, state_dir) if one.exists()),
        begun_bytes,
        repo_type,
    )


def _cached(folder: Path, name: str, repo_type: RepoType) -> Holding:
    files = [*_files_below(folder / "blobs"), *_files_below(folder / "snapshots")]
    begun_bytes = _begun_bytes(folder)
    return Holding(
        Place.CACHE,
        name,
        folder,
        sum(map(_size_of, files)) + begun_bytes,
        max(one.stat().st_mtime for one in (folder / "snapshots", folder) if one.exists()),
        begun_bytes,
        repo_type,
        is_ours=has_state(folder),
    )


@contextlib.contextmanager
def _passed_over(folder: Path) -> Iterator[None]:
    """Leave a folder out that cannot be read, or is being removed."""
    try:
        yield
    except OSError as exc:
        log.debug("%s is passed over: %s", folder, exc)


def _begun_bytes(folder: Path) -> int:
    return sum(map(size_on_disk, (folder / STATE_FOLDER / PARTIAL_FOLDER).glob("*.part")))


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _repo_type(text: str) -> RepoType:
    return RepoType(text) if text in set(RepoType) else RepoType.MODEL


def _folders_in(folder: Path) -> Iterable[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir())
    except OSError:
        return ()


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield regular files; links, as those of a snapshot, take no room."""
    for root, _, names in os.walk(folder):
        for name in names:
            path = Path(root, name)
            if path.is_file() and not path.is_symlink():
                yield path
