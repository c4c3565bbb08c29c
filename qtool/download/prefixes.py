"""Digests of a file's beginnings: where damage starts inside a file whose digest is wrong.

The running digest of the whole is copied and noted at the end of each block, which costs nothing to
speak of (1 microsecond for each MiB; checksums of the blocks themselves cost a quarter of a CPU
second for each GiB). A beginning is right up to the first block whose note differs; what lies
behind that block shows when it is right again, which is how a repair goes on from block to block.

The notes are believed only to locate: what proves a file is its digest. Kept by digest, in
``prefixes`` of the state folder, 8 KiB for each GiB: one checksummed JSON line (as in ``journal``),
then a note of 8 bytes for each block of a MiB. Notes that were no help are ``.doubted``; when they
were no help again, they are ``.withdrawn`` until the file was fetched once without them.
"""

import json
import logging
import zlib
from collections.abc import Collection
from copy import copy
from dataclasses import dataclass
from pathlib import Path

from qtool.download.digests import new_digest
from qtool.download.journal import decode_lines, encode_line
from qtool.download.ranges import Range
from qtool.hub.repo import RemoteFile

log = logging.getLogger(__name__)

BLOCK_BYTES = 1024 * 1024
_NOTE_BYTES = 8
_DOUBTED, _WITHDRAWN = ".doubted", ".withdrawn"


@dataclass(frozen=True, slots=True)
class Prefixes:
    """What the digests of a content's beginnings start with, block by block; the last is short."""

    size_bytes: int
    notes: tuple[bytes, ...]

    def first_difference(self, other: "Prefixes") -> Range | None:
        """Return the first block that is not as in other content; None where all are alike.

        The other content may be shorter, also within a block, which then differs.
        """
        for index, note in enumerate(self.notes):
            if index >= len(other.notes) or note != other.notes[index]:
                return self.block(index)
        return None

    def block(self, index: int) -> Range:
        """Return the bytes of a block."""
        start = index * BLOCK_BYTES
        return start, min(start + BLOCK_BYTES, self.size_bytes)


class NotingDigest:
    """A file's digest that notes those of its beginnings. Not thread-safe."""

    def __init__(self, file: RemoteFile) -> None:
        self.position = 0
        self._running = new_digest(file)
        self._notes: list[bytes] = []

    def update(self, data: memoryview) -> None:
        """Add bytes."""
        while data:
            piece = data[: self.left_of_block()]
            self._running.update(piece)
            self.position += len(piece)
            if self.position % BLOCK_BYTES == 0:
                self._notes.append(self._note())
            data = data[len(piece) :]

    def left_of_block(self) -> int:
        """Return how many bytes there are to the end of the block."""
        return BLOCK_BYTES - self.position % BLOCK_BYTES

    def copy(self) -> "NotingDigest":
        """Return another digest of the same bytes."""
        twin = copy(self)
        twin._running, twin._notes = self._running.copy(), list(self._notes)
        return twin

    def agrees_with(self, prefixes: Prefixes) -> bool:
        """Return whether the bytes so far, to the end of a block, begin that content."""
        index = -(-self.position // BLOCK_BYTES) - 1
        return index < 0 or prefixes.notes[index] == self._note()

    def hexdigest(self) -> str:
        """Return the digest of all bytes in lower-case hexadecimal."""
        return self._running.hexdigest()

    def prefixes(self) -> Prefixes:
        """Return the notes of all bytes so far."""
        is_cut = self.position % BLOCK_BYTES > 0
        return Prefixes(self.position, (*self._notes, *([self._note()] if is_cut else [])))

    def _note(self) -> bytes:
        return self._running.copy().digest()[:_NOTE_BYTES]


class PrefixStore:
    """The notes that a target keeps. They are a help: failing to write them is no failure."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / "prefixes"

    def find(self, file: RemoteFile) -> Prefixes | None:
        """Return the notes of the content that ``file`` has on the hub, if they are known."""
        if file.digest is None:
            return None
        path = self._path(file.digest)
        content = _read(path) or _read(_variant(path, _DOUBTED)) or b""
        prefixes = _decode(content)
        is_of_file = prefixes is not None and prefixes.size_bytes == file.size_bytes
        return prefixes if is_of_file else None

    def add(self, file: RemoteFile, prefixes: Prefixes) -> None:
        """Keep the notes of content whose digest was found to be that of ``file``."""
        if file.digest is None or len(prefixes.notes) < 2:
            return
        path = self._path(file.digest)
        fresh = path.with_name(f"{path.name}.new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_bytes(_encode(prefixes))
            fresh.replace(path)
        except OSError as exc:
            log.debug("%s: no notes of its beginnings: %s", file.path, exc)
            return
        for suffix in (_DOUBTED, _WITHDRAWN):
            _remove(_variant(path, suffix))

    def doubt(self, file: RemoteFile) -> bool:
        """Note that a repair by these notes has failed; return False when one had before."""
        return self._rename(file, "", _DOUBTED)

    def withdraw(self, file: RemoteFile) -> None:
        """Keep notes that are doubted from being found."""
        self._rename(file, _DOUBTED, _WITHDRAWN)

    def reinstate(self, file: RemoteFile) -> bool:
        """Believe withdrawn notes again; return False when there are none."""
        return self._rename(file, _WITHDRAWN, "")

    def _rename(self, file: RemoteFile, suffix: str, other: str) -> bool:
        if file.digest is None:
            return False
        path = self._path(file.digest)
        try:
            _variant(path, suffix).replace(_variant(path, other))
        except OSError as exc:
            log.debug("%s: its notes are not marked: %s", file.path, exc)
            return False
        return True

    def discard(self, file: RemoteFile) -> None:
        """Forget notes that have turned out to be wrong."""
        if file.digest is None:
            return
        for suffix in ("", _DOUBTED, _WITHDRAWN):
            _remove(_variant(self._path(file.digest), suffix))

    def prune(self, digests: Collection[str | None]) -> None:
        """Forget the notes of all content but that of ``digests``."""
        try:
            paths = list(self._folder.iterdir())
        except OSError:
            return
        for path in paths:
            if path.name.partition(".")[0] not in digests:
                _remove(path)

    def _path(self, digest: str) -> Path:
        return self._folder / digest


def _encode(prefixes: Prefixes) -> bytes:
    payload = b"".join(prefixes.notes)
    header = {"size": prefixes.size_bytes, "block": BLOCK_BYTES, "crc32": zlib.crc32(payload)}
    return encode_line(json.dumps(header)) + payload


def _decode(content: bytes) -> Prefixes | None:
    """Return what ``_encode`` wrote, None when it is torn, damaged, or of another block size."""
    line, _, payload = content.partition(b"\n")
    records = decode_lines(line + b"\n")
    try:
        header = json.loads(records[0]) if records else {}
    except ValueError:
        return None
    size = header.get("size") if isinstance(header, dict) else None
    if not isinstance(size, int) or header.get("block") != BLOCK_BYTES:
        return None
    is_whole = len(payload) == _NOTE_BYTES * -(-size // BLOCK_BYTES)
    if not is_whole or header.get("crc32") != zlib.crc32(payload):
        return None
    starts = range(0, len(payload), _NOTE_BYTES)
    return Prefixes(size, tuple(payload[at : at + _NOTE_BYTES] for at in starts))


def _variant(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as exc:
        log.debug("%s stays: %s", path, exc)
