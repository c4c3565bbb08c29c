"""Whose a repository of the Hugging Face cache is, and its removal when all of it is qtool's.

Programs share blobs, snapshots and refs there, and none notes which of them it needs. So a
repository goes as a whole or not at all: as soon as there is a blob that qtool did not fetch, a
snapshot that it did not make or a link that it did not set, it is not qtool's to remove.
Layout: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from qtool.download.manifest import Manifest, Verified

IsAsRecorded = Callable[[Path, Verified], bool]
"""Tells whether a file is as an entry of the manifest says."""


def is_all_ours(root: Path, manifest: Manifest, repo_key: str) -> bool:
    """Return whether nobody but qtool has put blobs, snapshots or links into a repository.

    Files in place of links are no matter: somebody's edits stay in any case. Raises OSError.
    """
    folders = [root / name for name in ("blobs", "snapshots", "refs")]
    if any(folder.is_symlink() for folder in folders):
        return False
    history = manifest.history()
    fetched = {entry.digest for entry in history if entry.fetched_from == repo_key}
    commits = {entry.commit for entry in history}
    links = {(entry.commit, entry.path, entry.digest) for entry in history}
    blobs, snapshots = folders[:2]
    return (
        all(one.parent == blobs and one.name in fetched for one in _paths_below(blobs))
        and all(one.name in commits for one in _children(snapshots))
        and all(_link(one, root) in links for one in _paths_below(snapshots) if one.is_symlink())
    )


def remove_cached(
    root: Path, manifest: Manifest, repo_key: str, is_as_recorded: IsAsRecorded
) -> tuple[int, list[str]]:
    """Remove a repository that ``is_all_ours``; return the bytes freed and the files that stay.

    Raises OSError.
    """
    history = manifest.history()
    fetched = [entry for entry in history if entry.fetched_from == repo_key]
    freed_bytes = 0
    for digest, entry in {entry.digest: entry for entry in fetched if entry.digest}.items():
        blob = root / "blobs" / digest
        if blob.is_file() and not blob.is_symlink() and is_as_recorded(blob, entry):
            freed_bytes += freed_by(blob)
            blob.unlink()
    left = []
    recorded = {(entry.commit, entry.path): entry for entry in fetched}
    for path in list(_paths_below(root / "snapshots")):
        own = recorded.get(_place(path, root))
        if path.is_symlink():
            is_gone = not path.exists()
        elif is_gone := own is not None and is_as_recorded(path, own):
            freed_bytes += freed_by(path)
        if is_gone:
            path.unlink()
        else:
            left.append(_place(path, root)[1])
    _remove_refs(root, {entry.commit for entry in history})
    return freed_bytes, left


def freed_by(path: Path) -> int:
    """Return what removing a file frees: nothing where it has another name. Raises OSError."""
    status = path.stat()
    return status.st_size if status.st_nlink == 1 else 0


def _remove_refs(root: Path, commits: set[str]) -> None:
    """Remove the names of commits of which nothing is left."""
    for ref in [path for path in _paths_below(root / "refs") if path.is_file()]:
        commit = ref.read_text("ascii", "replace").strip()
        is_left = any(_paths_below(root / "snapshots" / commit))
        if commit in commits and not is_left:
            ref.unlink()


def _link(path: Path, root: Path) -> tuple[str, str, str | None]:
    """Return commit, path and digest of a link in a snapshot; without one to a blob, no digest."""
    blob = Path(os.path.normpath(path.parent / path.readlink()))
    return *_place(path, root), blob.name if blob.parent == root / "blobs" else None


def _place(path: Path, root: Path) -> tuple[str, str]:
    """Return the commit of a path in a snapshot, and the path that it has in the repository."""
    commit, *names = path.relative_to(root / "snapshots").parts
    return commit, "/".join(names)


def _children(folder: Path) -> tuple[Path, ...]:
    return tuple(folder.iterdir()) if folder.is_dir() else ()


def _paths_below(folder: Path) -> Iterator[Path]:
    """Yield all that is no folder, links to folders among them. Raises OSError."""
    for path in _children(folder):
        if path.is_dir() and not path.is_symlink():
            yield from _paths_below(path)
        else:
            yield path
