"""Removing what was downloaded: the files that qtool has recorded, and nothing else.

A file goes when it is as it was recorded (by its time, else by its digest). What somebody has
changed or put there stays; folders of files that went go when nothing is left in them.
"""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from qtool.download.digests import digest_of
from qtool.download.disk import disk_errors
from qtool.download.holdings import Holding, Place
from qtool.download.manifest import Manifest, Verified
from qtool.download.target import size_and_mtime
from qtool.download.verify import with_digest
from qtool.errors import IntegrityError
from qtool.hub.paths import check_path
from qtool.locks import ProcessLock

_CLIENTS_NOTES = Path(".cache") / "huggingface"


@dataclass(slots=True)
class Removal:
    """What was done. ``left`` are downloaded files that stay, relative to the folder."""

    freed_bytes: int = 0
    left: list[str] = field(default_factory=list)


def remove_download(holding: Holding) -> Removal:
    """Remove what qtool has recorded of a folder or of a cached repository.

    Raises ResourceError when another qtool is at work on it, or a file cannot be removed.
    """
    if not holding.is_ours:
        raise ValueError(f"{holding.path} was not downloaded by qtool")
    root, done = holding.path, Removal(holding.begun_bytes)
    with disk_errors(root), ProcessLock(holding.state_dir / "lock", f"at work on {root}"):
        manifest = Manifest(holding.state_dir / "manifest")
        if holding.place is Place.CACHE:
            _remove_cached(root, manifest, done)
        else:
            _remove_files(root, manifest, done)
        shutil.rmtree(holding.state_dir)
        _remove_if_empty([root / ".cache"], root)
    return done


def _remove_files(root: Path, manifest: Manifest, done: Removal) -> None:
    """Remove recorded files and the notes of huggingface_hub about them."""
    gone = []
    for entry in manifest.entries():
        path = _own_path(root, entry)
        if path is None:
            continue
        if _is_as_recorded(path, entry):
            done.freed_bytes += path.stat().st_size
            path.unlink()
        else:
            done.left.append(entry.path)
        note = root / _CLIENTS_NOTES / "download" / f"{entry.path}.metadata"
        for beside in (note, note.with_suffix(".lock")):
            beside.unlink(missing_ok=True)
        gone += [path.parent, note.parent]
    notes = root / _CLIENTS_NOTES
    if not any(path.is_file() for path in (notes / "download").rglob("*")):
        (notes / ".gitignore").unlink(missing_ok=True)
    _remove_if_empty([*gone, notes], root)


def _remove_cached(root: Path, manifest: Manifest, done: Removal) -> None:
    """Remove recorded blobs of a cached repository, the links to them, and files in their place."""
    changed = {
        entry.digest
        for entry in manifest.entries()
        if entry.digest is not None
        and (blob := root / "blobs" / entry.digest).is_file()
        and not _is_as_recorded(blob, entry)
    }
    digests = manifest.digests() - changed
    for blob in (root / "blobs" / digest for digest in digests):
        if blob.is_file():
            done.freed_bytes += blob.stat().st_size
            blob.unlink()
    recorded = {entry.path: entry for entry in manifest.entries()}
    snapshots = root / "snapshots"
    for path in list(_paths_below(snapshots)):
        name = path.relative_to(snapshots).as_posix().partition("/")[2]
        if path.is_symlink():
            is_ours = path.readlink().name in digests
        else:  # without a digest, or in a cache without links
            is_ours = name in recorded and _is_as_recorded(path, recorded[name])
            done.freed_bytes += path.stat().st_size if is_ours else 0
        if is_ours:
            path.unlink()
        else:
            done.left.append(name)
    _remove_if_empty((Path(folder) for folder, _, _ in os.walk(root)), root)
    for ref in list(_paths_below(root / "refs")):
        if not (snapshots / ref.read_text("ascii", "replace").strip()).is_dir():
            ref.unlink()
            _remove_if_empty([ref.parent], root)


def _own_path(root: Path, entry: Verified) -> Path | None:
    """Return where a recorded file lies, None where that is not below ``root``.

    The record may have come with a folder of somebody else's.
    """
    try:
        check_path(entry.path)
    except IntegrityError:
        return None
    path = root / entry.path
    is_below = path.parent.resolve().is_relative_to(root.resolve())
    return path if is_below and path.is_file() else None


def _is_as_recorded(path: Path, entry: Verified) -> bool:
    """Return whether a file is as it was. Its content is read where the time is another one."""
    found = size_and_mtime(path)
    if found is None or found[0] != entry.size:
        return False
    if found[1] == entry.mtime_ns or entry.digest is None:
        return found[1] == entry.mtime_ns
    return digest_of(path, with_digest(entry.path, entry.size, entry.digest)) == entry.digest


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


def _paths_below(root: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(root):
        yield from (Path(folder, name) for name in names)
