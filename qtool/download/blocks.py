"""Checksums of a file's blocks: where damage lies inside a file whose digest is wrong.

They are taken along while the whole is hashed, at a fifth of a CPU second per GiB, and believed
only to locate: what proves a file is its digest. Kept by digest, in ``blocks`` of the state folder,
4 KiB for each GiB: one checksummed JSON line (as in ``journal``), then a little-endian CRC-32 for
each block of a MiB.
"""

import json
import logging
import struct
import zlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from qtool.download.digests import Digest, new_digest
from qtool.download.journal import decode_lines, encode_line
from qtool.download.ranges import Range, RangeSet
from qtool.hub.repo import RemoteFile

log = logging.getLogger(__name__)

BLOCK_BYTES = 1024 * 1024

ReadInto = Callable[[memoryview, int], int]
"""Fills a buffer from an offset of a file and returns how many bytes there were."""


@dataclass(frozen=True, slots=True)
class BlockSums:
    """The CRC-32 of each block of a file; the last block may be shorter."""

    size_bytes: int
    crcs: tuple[int, ...]

    def bad_ranges(self, read_into: ReadInto) -> list[Range]:
        """Return the blocks that are not as they were, adjacent ones as one range.

        Raises what ``read_into`` raises.
        """
        return list(RangeSet(self._mismatches(read_into)))

    def differences(self, other: "BlockSums") -> list[Range]:
        """Return the blocks that differ from those of other content, of the same size."""
        pairs = zip(self.crcs, other.crcs, strict=True)
        return list(RangeSet(self._range(i) for i, (one, two) in enumerate(pairs) if one != two))

    def _range(self, index: int) -> Range:
        start = index * BLOCK_BYTES
        return start, min(start + BLOCK_BYTES, self.size_bytes)

    def _mismatches(self, read_into: ReadInto) -> Iterable[Range]:
        buffer = memoryview(bytearray(BLOCK_BYTES))
        for index, expected in enumerate(self.crcs):
            start, end = self._range(index)
            count = _read_whole(read_into, buffer[: end - start], start)
            if count < end - start or zlib.crc32(buffer[:count]) != expected:
                yield start, end


class BlockDigest:
    """A file's digest, with the checksums of its blocks taken along. Not thread-safe."""

    def __init__(self, file: RemoteFile) -> None:
        self._digest: Digest = new_digest(file)
        self._size_bytes = 0
        self._crcs: list[int] = []
        self._crc = 0

    def update(self, data: memoryview) -> None:
        """Add bytes."""
        self._digest.update(data)
        while data:
            piece = data[: BLOCK_BYTES - self._size_bytes % BLOCK_BYTES]
            self._crc = zlib.crc32(piece, self._crc)
            self._size_bytes += len(piece)
            if self._size_bytes % BLOCK_BYTES == 0:
                self._crcs.append(self._crc)
                self._crc = 0
            data = data[len(piece) :]

    def hexdigest(self) -> str:
        """Return the digest of all bytes in lower-case hexadecimal."""
        return self._digest.hexdigest()

    def block_sums(self) -> BlockSums:
        """Return the checksums of all bytes so far."""
        is_cut = self._size_bytes % BLOCK_BYTES > 0
        return BlockSums(self._size_bytes, (*self._crcs, *([self._crc] if is_cut else [])))


class BlockStore:
    """The checksums that a target keeps. They are a help: failing to write them is no failure."""

    def __init__(self, state_dir: Path) -> None:
        self._folder = state_dir / "blocks"

    def find(self, file: RemoteFile) -> BlockSums | None:
        """Return the checksums of the content that ``file`` has on the hub, if they are known."""
        if file.digest is None:
            return None
        try:
            content = self._path(file.digest).read_bytes()
        except OSError:
            return None
        sums = _decode(content)
        return sums if sums is not None and sums.size_bytes == file.size_bytes else None

    def add(self, file: RemoteFile, sums: BlockSums) -> None:
        """Keep the checksums of content whose digest was found to be that of ``file``."""
        if file.digest is None or len(sums.crcs) < 2:
            return
        path = self._path(file.digest)
        fresh = path.with_name(f"{path.name}.new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_bytes(_encode(sums))
            fresh.replace(path)
        except OSError as exc:
            log.debug("%s: no checksums of blocks: %s", file.path, exc)

    def discard(self, file: RemoteFile) -> None:
        """Forget checksums that have turned out to be wrong."""
        if file.digest is not None:
            _remove(self._path(file.digest))

    def prune(self, digests: Collection[str | None]) -> None:
        """Forget the checksums of all content but that of ``digests``."""
        try:
            paths = list(self._folder.iterdir())
        except OSError:
            return
        for path in paths:
            if path.name not in digests:
                _remove(path)

    def _path(self, digest: str) -> Path:
        return self._folder / digest


def _read_whole(read_into: ReadInto, buffer: memoryview, start: int) -> int:
    """Fill ``buffer`` as far as the file goes; one call of the system may bring less."""
    filled = 0
    while filled < len(buffer) and (count := read_into(buffer[filled:], start + filled)):
        filled += count
    return filled


def _encode(sums: BlockSums) -> bytes:
    payload = struct.pack(f"<{len(sums.crcs)}I", *sums.crcs)
    header = {"size": sums.size_bytes, "block": BLOCK_BYTES, "crc32": zlib.crc32(payload)}
    return encode_line(json.dumps(header)) + payload


def _decode(content: bytes) -> BlockSums | None:
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
    is_whole = len(payload) == 4 * -(-size // BLOCK_BYTES)
    if not is_whole or header.get("crc32") != zlib.crc32(payload):
        return None
    return BlockSums(size, struct.unpack(f"<{len(payload) // 4}I", payload))


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as exc:
        log.debug("%s stays: %s", path, exc)
