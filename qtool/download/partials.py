"""The partial files of a target: which files have one, what it is called, and which are orphans.

A file's partial content and its journal lie side by side in ``partial`` of the state folder.
"""

import hashlib
from collections.abc import Collection
from pathlib import Path

from qtool.download.disk import disk_errors
from qtool.download.journal import Identity, read_owner
from qtool.hub.repo import Listing, RemoteFile

PARTIAL_FOLDER = "partial"
# What is smaller is fetched by one request and kept in memory until it is whole.
SMALL_FILE_BYTES = 512 * 1024


def is_small(file: RemoteFile) -> bool:
    """Return whether a file is fetched without a partial file."""
    return file.size_bytes < SMALL_FILE_BYTES


def identity_of(listing: Listing, file: RemoteFile) -> Identity:
    """Return whose bytes a partial file of ``file`` holds."""
    key = file.digest or f"commit:{listing.commit}"
    return Identity(repo_key(listing), file.path, file.size_bytes, key)


def repo_key(listing: Listing) -> str:
    """Return how partial files name the repository they belong to."""
    return f"{listing.repo.repo_type}:{listing.repo.repo_id}"


def part_name(identity: Identity) -> str:
    """Return the base name of a file's partial state: flat, short, and the same in every run."""
    return hashlib.sha256(f"{identity.repo}\0{identity.path}".encode()).hexdigest()[:32]


def partial_paths(folder: Path, identity: Identity) -> tuple[Path, Path]:
    """Return where a file's partial content and its journal lie."""
    name = part_name(identity)
    return folder / f"{name}.part", folder / f"{name}.journal"


def remove_orphans(folder: Path, listing: Listing, in_place: Collection[str] = ()) -> None:
    """Remove partial files that no run will go on with. Raises ResourceError.

    They are of paths that the repository does not have any more, whose files are small now, or
    ``in_place``. Those of other repositories, which may share the folder, stay.
    """
    known = {
        part_name(identity_of(listing, file))
        for file in listing.files
        if not is_small(file) and file.path not in in_place
    }
    own = repo_key(listing)
    with disk_errors(folder):
        paths = list(folder.iterdir()) if folder.is_dir() else []
        foreign = {path.stem for path in paths if path.suffix == ".journal"} - known
        foreign = {
            name for name in foreign if _owner(folder / f"{name}.journal") not in (None, own)
        }
        for path in paths:
            if path.name.partition(".")[0] not in known | foreign:
                path.unlink(missing_ok=True)


def _owner(journal: Path) -> str | None:
    try:
        return read_owner(journal.read_bytes())
    except FileNotFoundError:
        return None
