"""The journal of a partial file: which bytes are there, true after any crash.

An append-only text file next to the partial file. Each line is a CRC-32 in hexadecimal, a blank
and one record; the first bad line ends the journal, so a torn write costs only itself::

    {"repo": …, "path": …, "size": …, "key": …, "boot": …}     whose bytes these are
    w START END                                                written, since this boot
    d START END START END …                                    all that is safely on the disk

``w`` is appended right after the bytes went to the kernel: it survives the death of the process,
not that of the machine, and is believed only under the boot id of the first line. ``d`` is
appended after the data were synced, about once a second, and is always believed.
"""

import json
import os
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

from qtool.download.ranges import Range, RangeSet


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose bytes a partial file holds, whichever endpoint they came from.

    ``key`` is the content's digest, or the commit when the hub gives none.
    """

    repo: str
    path: str
    size: int
    key: str


class Journal:
    """An open journal. Appending is atomic, so threads may share it."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd

    @classmethod
    def start(
        cls, path: Path, identity: Identity, durable: RangeSet, boot: str | None
    ) -> "Journal":
        """Replace the journal at ``path`` by one that knows ``durable``. Raises OSError."""
        header = json.dumps({**asdict(identity), "boot": boot}, ensure_ascii=True)
        fresh = path.with_name(path.name + ".new")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
        try:
            os.write(fd, encode_line(header) + encode_line(_durable_record(durable)))
            os.fsync(fd)
            fresh.replace(path)
        except BaseException:
            os.close(fd)
            raise
        return cls(path, fd)

    def written(self, start: int, end: int) -> None:
        """Note bytes that were handed to the kernel. Raises OSError."""
        os.write(self._fd, encode_line(f"w {start} {end}"))

    def durable(self, ranges: RangeSet) -> None:
        """Note that ``ranges`` are on the disk; call it only after they were synced."""
        os.write(self._fd, encode_line(_durable_record(ranges)))
        os.fsync(self._fd)

    def close(self) -> None:
        """Close the file; what it says stays true."""
        os.close(self._fd)


def read_journal(content: bytes, identity: Identity, boot: str | None) -> RangeSet | None:
    """Return the bytes that a journal vouches for, None when it is about something else.

    ``boot`` is the boot id of now, None where the system has none.
    """
    records = decode_lines(content)
    header = _parse_header(records[0]) if records else None
    if header is None or {**header, "boot": None} != {**asdict(identity), "boot": None}:
        return None
    is_same_boot = boot is not None and header.get("boot") == boot
    known = RangeSet()
    for record in records[1:]:
        if record[:1] == "d" or (record[:1] == "w" and is_same_boot):
            for start, end in _parse_ranges(record):
                known.add(start, end)
    return known.clipped(identity.size)


def read_owner(content: bytes) -> str | None:
    """Return the repository that a journal is about, None when that cannot be read."""
    records = decode_lines(content[: content.find(b"\n") + 1])
    header = _parse_header(records[0]) if records else None
    repo = header.get("repo") if header else None
    return repo if isinstance(repo, str) else None


def encode_line(record: str) -> bytes:
    """Return a record as a line with its checksum."""
    body = record.encode("ascii")
    return b"%08x %s\n" % (zlib.crc32(body), body)


def decode_lines(content: bytes) -> list[str]:
    """Return the records up to the first line that is torn or damaged."""
    records = []
    for line in content.split(b"\n")[:-1]:
        checksum, _, body = line.partition(b" ")
        if checksum != b"%08x" % zlib.crc32(body) or not body.isascii():
            break
        records.append(body.decode("ascii"))
    return records


def boot_id() -> str | None:
    """Return what distinguishes this boot of the machine from others; Linux only."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip() or None
    except OSError:
        return None


def _durable_record(ranges: RangeSet) -> str:
    return " ".join(["d", *(f"{start} {end}" for start, end in ranges)])


def _parse_header(record: str) -> dict[str, object] | None:
    try:
        header = json.loads(record)
    except (ValueError, RecursionError):
        return None
    return header if isinstance(header, dict) else None


def _parse_ranges(record: str) -> list[Range]:
    numbers = record.split()[1:]
    if len(numbers) % 2 or not all(number.isdigit() for number in numbers):
        return []
    pairs = zip(map(int, numbers[::2]), map(int, numbers[1::2]), strict=True)
    return [(start, end) for start, end in pairs if start < end]
