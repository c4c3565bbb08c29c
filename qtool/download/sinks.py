"""Where the bytes of one file go until it is verified: the disk, or memory for small files.

They come in any order, from several threads. Bytes that are there stay as they are, whoever brings
them again: they may have been hashed already, and a second copy may be wrong.
"""

import io
import logging
import threading
from collections.abc import Iterable
from pathlib import Path

from qtool.download.disk import disk_errors, sync_data, write_at
from qtool.download.journal import Identity, Journal, boot_id, read_journal, read_owner
from qtool.download.partials import partial_paths
from qtool.download.ranges import Range, RangeSet
from qtool.hub.repo import RemoteFile

log = logging.getLogger(__name__)


class MemorySink:
    """A small file in memory, from its first byte until it is written out."""

    __slots__ = ("_content", "_done", "_lock", "_size_bytes")

    def __init__(self, file: RemoteFile) -> None:
        self._size_bytes = file.size_bytes
        self._content = bytearray()
        self._done = RangeSet()
        self._lock = threading.Lock()

    def write(self, start: int, data: memoryview) -> list[Range]:
        """Store what is missing of the bytes at an offset; return the ranges it filled."""
        with self._lock:
            missing = self._done.gaps(start, start + len(data))
            if missing and not self._content:
                self._content = bytearray(self._size_bytes)
            for begin, end in missing:
                self._content[begin:end] = data[begin - start : end - start]
                self._done.add(begin, end)
            return missing

    def size_done(self) -> int:
        """Return how many of the file's bytes are there."""
        return self._done.size_bytes

    def remove(self, ranges: Iterable[Range]) -> None:
        """Forget what came for ``ranges``."""
        with self._lock:
            self._done = self._done.without(ranges)

    @property
    def content(self) -> memoryview:
        """Return what is there, as far as it has come."""
        return memoryview(self._content)

    def take_content(self) -> bytearray:
        """Return the content and forget it."""
        content, self._content = self._content, bytearray()
        return content


class PartialFile:
    """A partial file with its journal in the target's state folder.

    ``is_outdated``: an earlier run had begun the file when the hub had another version of it.
    Nothing is created or kept open before the first byte is to be written or read.
    """

    def __init__(self, folder: Path, file: RemoteFile, identity: Identity) -> None:
        self.path, self._journal_path = partial_paths(folder, identity)
        self._identity = identity
        self._size_bytes = file.size_bytes
        self._lock = threading.Lock()
        # Held while syncing, which takes long, so that nobody closes the files meanwhile.
        self._syncing = threading.Lock()
        self._is_unsynced = False
        self.is_outdated = False
        self._stream: io.FileIO | None = None
        self._journal: Journal | None = None
        with disk_errors(self.path):
            self._done = self._read_state()

    def write(self, start: int, data: memoryview) -> list[Range]:
        """Store and journal what is missing of the bytes at an offset; return what it filled.

        Raises ResourceError.
        """
        with disk_errors(self.path, self._missing_bytes):
            with self._lock:
                missing = self._done.gaps(start, start + len(data))
                if not missing:
                    return missing
                stream, journal = self._ensure_open()
            # No two connections bring the same bytes at a time, so nobody has to wait here.
            for begin, end in missing:
                write_at(stream.fileno(), data[begin - start : end - start], begin)
            with self._lock:
                for begin, end in missing:
                    journal.written(begin, end)
                    self._done.add(begin, end)
                    self._is_unsynced = True
            return missing

    def read_into(self, buffer: memoryview, start: int) -> int:
        """Read bytes from an offset; return how many. For one thread. Raises ResourceError."""
        with disk_errors(self.path):
            stream, _ = self._opened()
            stream.seek(start)
            return stream.readinto(buffer)

    def remove(self, ranges: Iterable[Range]) -> None:
        """Forget what came for ``ranges``, also after a crash. Raises ResourceError."""
        self.close()
        with self._lock:
            self._done = self._done.without(ranges)
        with disk_errors(self.path):
            self._opened()  # begins a journal that does not know them

    def size_done(self) -> int:
        """Return how many of the file's bytes are there."""
        return self._done.size_bytes

    def front(self) -> int:
        """Return up to where the bytes are complete from 0 on."""
        with self._lock:
            return self._done.front()

    def present(self) -> list[Range]:
        """Return the ranges that are there."""
        with self._lock:
            return list(self._done)

    def gaps(self) -> list[Range]:
        """Return the ranges that are missing."""
        with self._lock:
            return self._done.gaps(0, self._size_bytes)

    def checkpoint(self) -> None:
        """Bring what was written to the disk, then say so in the journal. Raises ResourceError."""
        with self._syncing:
            with self._lock:
                if not self._is_unsynced or self._stream is None or self._journal is None:
                    return
                self._is_unsynced = False
                snapshot = RangeSet(self._done)
                stream, journal = self._stream, self._journal
            with disk_errors(self.path):
                sync_data(stream.fileno())
                journal.durable(snapshot)

    def sync(self) -> None:
        """Bring the content to the disk. Raises ResourceError."""
        with disk_errors(self.path):
            sync_data(self._opened()[0].fileno())

    def close(self) -> None:
        """Close the files; what they hold stays for the next run."""
        with self._syncing, self._lock:
            if self._stream is not None and self._journal is not None:
                self._stream.close()
                self._journal.close()
                self._stream = self._journal = None

    def forget(self) -> None:
        """Close, and remove the journal, after the content got its final name."""
        self.close()
        self._journal_path.unlink(missing_ok=True)

    def discard(self) -> None:
        """Close, and remove everything: the content is wrong."""
        self.forget()
        self.path.unlink(missing_ok=True)

    def _missing_bytes(self) -> int:
        return self._size_bytes - self._done.size_bytes

    def _opened(self) -> tuple[io.FileIO, Journal]:
        with self._lock:
            return self._ensure_open()

    def _ensure_open(self) -> tuple[io.FileIO, Journal]:
        if self._stream is None or self._journal is None:
            self._stream, self._journal = self._open()
        return self._stream, self._journal

    def _open(self) -> tuple[io.FileIO, Journal]:
        """Open both files; what is there becomes durable, what is not vouched for is cut off."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        stream = io.FileIO(self.path, "r+" if self._done.size_bytes else "w+")
        try:
            if self._done.size_bytes:
                sync_data(stream.fileno())
            stream.truncate(self._size_bytes)
            journal = Journal.start(self._journal_path, self._identity, self._done, boot_id())
        except BaseException:
            stream.close()
            raise
        return stream, journal

    def _read_state(self) -> RangeSet:
        try:
            content = self._journal_path.read_bytes()
            size_on_disk = self.path.stat().st_size
        except FileNotFoundError:
            return RangeSet()
        known = read_journal(content, self._identity, boot_id())
        if known is None:
            self.is_outdated = read_owner(content) is not None
            log.debug("%s: what is there is of another version", self._identity.path)
            return RangeSet()
        log.debug("%s: %d bytes are there already", self._identity.path, known.size_bytes)
        return known.clipped(size_on_disk)
