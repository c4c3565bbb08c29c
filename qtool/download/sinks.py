"""Where the bytes of one file go until it is verified: the disk, or memory for small files."""

import contextlib
import hashlib
import logging
import os
import threading
from pathlib import Path
from typing import Protocol

from qtool.download.digests import new_digest
from qtool.download.disk import disk_errors, sync_data, write_at
from qtool.download.journal import Identity, Journal, boot_id, read_journal
from qtool.download.ranges import Range, RangeSet
from qtool.hub.repo import Listing, RemoteFile

log = logging.getLogger(__name__)

# Small enough that 64 of them at once are no burden, and are fetched by one request anyway.
SMALL_FILE_BYTES = 512 * 1024


class Sink(Protocol):
    """Collects a file's bytes, in any order, from several threads."""

    def write(self, start: int, data: memoryview) -> None:
        """Store bytes at an offset. Raises ResourceError."""

    def size_done(self) -> int:
        """Return how many of the file's bytes are there."""


class MemorySink:
    """A small file in memory."""

    def __init__(self, file: RemoteFile) -> None:
        self.content = bytearray(file.size_bytes)
        self._done = RangeSet()
        self._lock = threading.Lock()

    def write(self, start: int, data: memoryview) -> None:
        """Store bytes at an offset."""
        with self._lock:
            self.content[start : start + len(data)] = data
            self._done.add(start, start + len(data))

    def size_done(self) -> int:
        """Return how many of the file's bytes are there."""
        return self._done.size_bytes

    def hexdigest(self, file: RemoteFile) -> str:
        """Return the digest of the content in the kind of ``file``."""
        digest = new_digest(file)
        digest.update(memoryview(self.content))
        return digest.hexdigest()


class PartialFile:
    """A partial file with its journal in the target's state folder."""

    def __init__(self, folder: Path, file: RemoteFile, identity: Identity) -> None:
        name = part_name(identity)
        self.path = folder / f"{name}.part"
        self._journal_path = folder / f"{name}.journal"
        self._size_bytes = file.size_bytes
        self._lock = threading.Lock()
        self._unsynced = False
        with disk_errors(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            self._done = self._read_state(identity)
            self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            if self._done.size_bytes:
                sync_data(self.fd)
            os.ftruncate(self.fd, file.size_bytes)
            self._journal = Journal.start(self._journal_path, identity, self._done, boot_id())

    def write(self, start: int, data: memoryview) -> None:
        """Store bytes at an offset and note them in the journal. Raises ResourceError."""
        with disk_errors(self.path):
            write_at(self.fd, data, start)
            self._journal.written(start, start + len(data))
        with self._lock:
            self._done.add(start, start + len(data))
            self._unsynced = True

    def size_done(self) -> int:
        """Return how many of the file's bytes are there."""
        return self._done.size_bytes

    def front(self) -> int:
        """Return up to where the bytes are complete from 0 on."""
        with self._lock:
            return self._done.front()

    def gaps(self) -> list[Range]:
        """Return the ranges that are missing."""
        with self._lock:
            return self._done.gaps(0, self._size_bytes)

    def checkpoint(self) -> None:
        """Bring what was written to the disk, then say so in the journal. Raises ResourceError."""
        with self._lock:
            if not self._unsynced:
                return
            self._unsynced = False
            snapshot = RangeSet(self._done)
        with disk_errors(self.path):
            sync_data(self.fd)
            self._journal.durable(snapshot)

    def close(self) -> None:
        """Close the files; what they hold stays for the next run."""
        os.close(self.fd)
        self._journal.close()

    def forget(self) -> None:
        """Remove the journal, after the content got its final name."""
        self._journal_path.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove everything: the content is wrong."""
        self.forget()
        self.path.unlink(missing_ok=True)

    def _read_state(self, identity: Identity) -> RangeSet:
        try:
            content = self._journal_path.read_bytes()
            size_on_disk = self.path.stat().st_size
        except FileNotFoundError:
            content, size_on_disk = b"", 0
        known = read_journal(content, identity, boot_id())
        if known is None:
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()
            return RangeSet()
        log.debug("%s: %d bytes are there already", identity.path, known.size_bytes)
        return known.clipped(size_on_disk)


def identity_of(listing: Listing, file: RemoteFile) -> Identity:
    """Return whose bytes a partial file of ``file`` holds."""
    repo = listing.repo
    key = file.digest or f"commit:{listing.commit}"
    return Identity(f"{repo.repo_type}:{repo.repo_id}", file.path, file.size_bytes, key)


def remove_orphans(folder: Path, listing: Listing) -> None:
    """Remove partial files of paths that the repository does not have any more."""
    known = {part_name(identity_of(listing, file)) for file in listing.files}
    with disk_errors(folder):
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name.partition(".")[0] not in known:
                path.unlink(missing_ok=True)


def part_name(identity: Identity) -> str:
    """Return the base name of a file's partial state: flat, short, and the same in every run."""
    return hashlib.sha256(f"{identity.repo}\0{identity.path}".encode()).hexdigest()[:32]


def write_file(path: Path, content: bytearray) -> None:
    """Write a small file and sync it. Raises ResourceError."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb", buffering=0) as stream:
            write_at(stream.fileno(), memoryview(content), 0)
            sync_data(stream.fileno())
