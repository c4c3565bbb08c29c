"""Removing what was downloaded: the files that qtool itself has fetched for one repository.

A file goes when the manifest says that it was fetched for that repository, and it is as it was
recorded (by its time, else by its digest). In doubt it stays, and is named: what somebody has
changed or put there, what was there before and only found right, what another repository needs.
Folders of files that went go when nothing is left in them; of the state folder, which may be a
folder of other things (``~/.cache/qtool``), known names go.
"""

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from qtool.download.backends.staging import FOLDER as STAGING_FOLDER
from qtool.download.backends.staging import LOCK as STAGING_LOCK
from qtool.download.backends.staging import short_hash
from qtool.download.begun import partials_of
from qtool.download.cached import freed_by, is_all_ours, remove_cached
from qtool.download.digests import digest_of
from qtool.download.disk import disk_errors, size_on_disk
from qtool.download.holdings import Holding, Place
from qtool.download.manifest import Manifest, Verified
from qtool.download.partials import PARTIAL_FOLDER
from qtool.download.target import size_and_mtime
from qtool.download.verify import extra_files, with_digest
from qtool.errors import IntegrityError, ResourceError
from qtool.hub.paths import check_path
from qtool.locks import ProcessLock
from qtool.models.refetch import SOURCE_FILE

_CLIENTS_NOTES = Path(".cache") / "huggingface"
_IGNORE = b"*\n"
_DIGEST = r"([0-9a-f]{40}|[0-9a-f]{64})(\.new|\.doubted|\.withdrawn)?"
_STATE_FILES = {
    "": rf"manifest(\.new)?|lock|{re.escape(STAGING_LOCK)}|{re.escape(SOURCE_FILE.name)}"
    r"|\.gitignore|ref\.new|[0-9a-f]{32}\.link",
    "prefixes": _DIGEST,
    "small": r"[0-9a-f]+",
}
"""What files qtool keeps in the state folder, and in which folders of it."""


@dataclass(slots=True)
class Removal:
    """What was done. ``left`` are files of the download that stay, relative to the folder.

    ``beside`` are files in the folder that no download has to do with, a thousand at most.
    """

    freed_bytes: int = 0
    left: list[str] = field(default_factory=list)
    beside: tuple[str, ...] = ()


def remove_download(holding: Holding) -> Removal:
    """Remove what qtool has fetched of a repository, from a folder or from the cache.

    Raises ResourceError when another qtool is at work on it, or a file cannot be removed.
    """
    if not holding.is_ours:
        raise ValueError(f"{holding.path} was not downloaded by qtool")
    root, state_dir = holding.path, holding.state_dir
    with disk_errors(root), ProcessLock(state_dir / "lock", f"at work on {root}"):
        manifest = Manifest(state_dir / "manifest")
        own = {entry.path for entry in manifest.entries()}
        is_shared = _is_shared(state_dir, manifest, holding.repo_key)
        if holding.place is Place.CACHE:
            if not is_all_ours(root, manifest, holding.repo_key):
                raise ResourceError(f"{root} has changed meanwhile", hint="qtool models")
            done = Removal(*remove_cached(root, manifest, holding.repo_key, is_as_recorded))
            _remove_if_empty((Path(folder) for folder, _, _ in os.walk(root)), root)
        else:
            done = _remove_files(root, manifest, holding.repo_key)
        done.freed_bytes += _remove_begun(state_dir, holding.repo_key, is_shared=is_shared)
        done.left += _set_aside(root, state_dir)
        if not is_shared:
            _remove_state(root, state_dir)
    if holding.place is Place.FOLDER:
        done.beside = extra_files(root, {*own, *done.left})
    return done


def is_as_recorded(path: Path, entry: Verified) -> bool:
    """Return whether a file is as it was. Its content is read where the time is another one."""
    found = size_and_mtime(path)
    if found is None or found[0] != entry.size:
        return False
    if found[1] == entry.mtime_ns or entry.digest is None:
        return found[1] == entry.mtime_ns
    return digest_of(path, with_digest(entry.path, entry.size, entry.digest)) == entry.digest


def _is_shared(state_dir: Path, manifest: Manifest, repo_key: str) -> bool:
    """Return whether the notes in the state folder are about files of other repositories too."""
    owners = {entry.fetched_from for entry in manifest.entries()}
    return bool((owners | set(partials_of(state_dir / PARTIAL_FOLDER))) - {repo_key, None})


def _remove_files(root: Path, manifest: Manifest, repo_key: str) -> Removal:
    """Remove the files of a repository, the notes of huggingface_hub about them, and our own."""
    done, gone, folders = Removal(), set(), []
    for entry in manifest.entries():
        if entry.fetched_from not in (repo_key, None) or not _is_below(root, entry):
            continue
        path = root / entry.path
        if entry.fetched_from is not None:
            folders += [path.parent, _remove_clients_note(root, entry).parent]
            if not path.is_symlink() and is_as_recorded(path, entry):
                done.freed_bytes += freed_by(path)
                path.unlink()
                gone.add(entry.path)
        if os.path.lexists(path):
            done.left.append(entry.path)
    if gone:
        manifest.forget(gone)
    notes = root / _CLIENTS_NOTES
    if not any(path.is_file() for path in (notes / "download").rglob("*")):
        _remove_ignore(notes)
    _remove_if_empty([*folders, notes], root)
    return done


def _is_below(root: Path, entry: Verified) -> bool:
    """Return whether a recorded file lies below ``root``: the record may be somebody else's."""
    try:
        check_path(entry.path)
    except IntegrityError:
        return False
    return (root / entry.path).parent.resolve().is_relative_to(root.resolve())


def _remove_clients_note(root: Path, entry: Verified) -> Path:
    """Remove huggingface_hub's note about a file that went, if it is about that content."""
    note = root / _CLIENTS_NOTES / "download" / f"{entry.path}.metadata"
    is_inside = note.parent.resolve().is_relative_to(root.resolve())
    if is_inside and note.is_file() and (entry.digest or "").encode() in note.read_bytes().split():
        note.unlink()
    return note


def _remove_begun(state_dir: Path, repo_key: str, *, is_shared: bool) -> int:
    """Remove unfinished downloads; return their bytes. Those of unknown owners stay if shared."""
    owned = partials_of(state_dir / PARTIAL_FOLDER)
    parts = [*owned.get(repo_key, []), *([] if is_shared else owned.get(None, []))]
    staging = state_dir / STAGING_FOLDER
    staged = [] if staging.is_symlink() else list(staging.glob(f"{short_hash(repo_key)}-*"))
    freed_bytes = sum(map(size_on_disk, (*parts, *staged)))
    for part in parts:
        part.with_suffix(".journal").unlink(missing_ok=True)
        part.unlink()
    for path in staged:
        path.unlink()
    return freed_bytes


def _set_aside(root: Path, state_dir: Path) -> Iterator[str]:
    """Yield damaged files that ``repair`` keeps: they are somebody's, and stay."""
    folder = state_dir / "damaged"
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        yield path.relative_to(root).as_posix()


def _remove_state(root: Path, state_dir: Path) -> None:
    """Remove qtool's notes by their names, and the folders that hold nothing else."""
    for name, pattern in _STATE_FILES.items():
        folder = state_dir / name
        for path in list(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else ():
            if re.fullmatch(pattern, path.name) and (path.is_symlink() or path.is_file()):
                path.unlink()
    names = (PARTIAL_FOLDER, STAGING_FOLDER, "prefixes", "small", "damaged")
    _remove_if_empty([state_dir / name for name in names], root)


def _remove_ignore(folder: Path) -> None:
    ignore = folder / ".gitignore"
    if ignore.is_file() and ignore.read_bytes() == _IGNORE:
        ignore.unlink()


def _remove_if_empty(folders: Iterable[Path], root: Path) -> None:
    """Remove those of ``folders`` and of their parents up to ``root`` that hold nothing.

    A folder that somebody works in stays.
    """
    busy = {Path.cwd(), Path.home()}
    below = {one for folder in folders for one in (folder, *folder.parents)}
    for folder in sorted(below, key=lambda one: -len(one.parts)):
        if folder.is_relative_to(root) and folder not in busy:
            with contextlib.suppress(OSError):
                folder.rmdir()
