"""Writing to the disk, with the failures a user can do something about told apart."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from qtool.errors import ResourceError
from qtool.units import format_size


@contextmanager
def disk_errors(path: Path, missing_bytes: Callable[[], int] | None = None) -> Iterator[None]:
    """Turn an OSError of the block into a ResourceError that names ``path`` and the cure.

    ``missing_bytes`` says how much is still to be written, for when the disk is full.
    """
    try:
        yield
    except OSError as exc:
        raise _explained(exc, path, missing_bytes) from exc


def write_at(fd: int, data: memoryview, offset: int) -> None:
    """Write all of ``data`` at ``offset``. Raises OSError."""
    while data:
        count = os.pwrite(fd, data, offset)
        data, offset = data[count:], offset + count


def size_on_disk(path: Path) -> int:
    """Return how many bytes of a file are there, holes not counted; 0 without it."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0
    return min(status.st_size, status.st_blocks * 512)


def sync_data(fd: int) -> None:
    """Bring a file's content to the disk. Raises OSError."""
    getattr(os, "fdatasync", os.fsync)(fd)


def create_file(path: Path, content: bytes | bytearray, *, is_synced: bool) -> None:
    """Write a small file with as few calls of the system as it takes. Raises OSError.

    Each call hands Python's lock to another thread; with hundreds of files and dozens of threads
    that is most of the work. So the folder is made when it is found missing, not asked for before.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o666)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, flags, 0o666)
    try:
        write_at(fd, memoryview(content), 0)
        if is_synced:
            sync_data(fd)
    finally:
        os.close(fd)


def move_file(path: Path, final: Path) -> None:
    """Rename, into a folder that is made if it is missing. Raises OSError."""
    try:
        path.replace(final)
    except FileNotFoundError:
        final.parent.mkdir(parents=True, exist_ok=True)
        path.replace(final)


def sync_folder(path: Path) -> None:
    """Bring a folder's names to the disk, so that a rename outlives a power failure."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def check_space(target: Path, needed_bytes: int) -> None:
    """Raise ResourceError when the disk of ``target`` has less than ``needed_bytes`` free."""
    existing = target.absolute()
    while not existing.exists():
        existing = existing.parent
    free_bytes = shutil.disk_usage(existing).free
    if needed_bytes > free_bytes:
        raise ResourceError(
            f"{format_size(needed_bytes)} are to be written, {existing} has "
            f"{format_size(free_bytes)} free",
            hint=f"free {format_size(needed_bytes - free_bytes)}, or choose another disk: "
            "--local-dir DIR",
        )


def disk_full(path: Path, missing_bytes: int | None = None) -> ResourceError:
    """Return the exception for a disk that ran full while ``path`` was written."""
    missing = None if missing_bytes is None else format_size(missing_bytes)
    return ResourceError(
        f"the disk is full: {path}" + (f", {missing} are still to be written" if missing else ""),
        hint=f"free {missing or 'some space'} and run the same command again; "
        "it goes on where it stopped",
    )


def _explained(exc: OSError, path: Path, missing_bytes: Callable[[], int] | None) -> ResourceError:
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return disk_full(path, missing_bytes() if missing_bytes is not None else None)
    if exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return ResourceError(
            f"cannot write to {path}: {exc.strerror}",
            hint="choose a folder that is yours: --local-dir DIR",
        )
    return ResourceError(f"cannot write {path}: {exc.strerror or exc}")
