"""The dynamic symbols of ELF shared objects: what a module asks for, what a library offers.

Only what that question needs of the format, every offset checked, so that a damaged or hostile
file gives ``ElfError`` and nothing else. Lookups go through the GNU hash table: a library of
400 MB answers in microseconds, for only the touched pages are read.

Formats: https://refspecs.linuxfoundation.org/elf/gabi4+/contents.html (ELF64, little-endian) and
https://flapenguin.me/elf-dt-gnu-hash for DT_GNU_HASH, which the gABI does not describe.
"""

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

PT_LOAD, PT_DYNAMIC = 1, 2
DT_NULL, DT_NEEDED, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_STRSZ = 0, 1, 4, 5, 6, 10
DT_RPATH, DT_RUNPATH, DT_GNU_HASH = 15, 29, 0x6FFFFEF5
STB_WEAK = 2
SHN_UNDEF = 0
SYMBOL_BYTES = 24
MAX_SEGMENTS, MAX_DYNAMIC, MAX_SYMBOLS, MAX_NAME_BYTES = 128, 4096, 5_000_000, 16_384


class ElfError(ValueError):
    """Not an ELF64 little-endian shared object, or a damaged one."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A loaded segment: where its bytes lie in the file and in memory."""

    file_offset: int
    address: int
    size_bytes: int


class ElfFile:
    """An open shared object; a context manager."""

    def __init__(self, path: Path) -> None:
        """Map ``path``.

        Raises:
            ElfError: it is no such file.
            OSError: it cannot be opened.
        """
        if not path.is_file():  # a pipe would be waited for
            raise ElfError(f"{path} is no file")
        with path.open("rb") as file:
            try:
                self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except ValueError as exc:  # an empty file
                raise ElfError(f"{path} is empty") from exc
        try:
            self._segments, dynamic = self._read_segments()
            self._tags = self._read_dynamic(*dynamic)
        except ElfError:
            self._data.close()
            raise

    def __enter__(self) -> "ElfFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._data.close()

    def needed(self) -> tuple[str, ...]:
        """Return the names of the libraries it is linked against (DT_NEEDED)."""
        return tuple(self._string(value).decode("utf-8", "replace") for value in self._all(1))

    def search_path(self) -> tuple[str, ...]:
        """Return the folders it names itself (DT_RUNPATH, DT_RPATH), ``$ORIGIN`` unresolved."""
        values = (*self._all(DT_RUNPATH), *self._all(DT_RPATH))
        texts = [self._string(value).decode("utf-8", "replace") for value in values]
        return tuple(part for text in texts for part in text.split(":") if part)

    def undefined(self, *prefixes: bytes) -> Iterator[bytes]:
        """Yield the names it needs that start with one of ``prefixes``; weak ones left out."""
        for index in range(1, self._n_symbols()):
            name_offset, info, _, section = self._symbol(index)
            if section != SHN_UNDEF or info >> 4 == STB_WEAK:
                continue
            name = self._string(name_offset)
            if name.startswith(prefixes):
                yield name

    def defines(self, name: bytes) -> bool:
        """Tell whether it exports the symbol ``name``.

        Raises:
            ElfError: it has no hash table, or a damaged one.
        """
        table = self._tags.get(DT_GNU_HASH)
        if not table:
            return name in self._defined_names()
        return self._find(self._offset(table[0]), name)

    # --- reading --------------------------------------------------------------------------

    def _unpack(self, layout: str, offset: int) -> tuple[int, ...]:
        try:
            if offset < 0:
                raise ElfError("an offset below zero")
            return struct.unpack_from(layout, self._data, offset)
        except (struct.error, OverflowError) as exc:
            raise ElfError(f"the file ends before offset {offset}") from exc

    def _read_segments(self) -> tuple[tuple[Segment, ...], tuple[int, int]]:
        if self._data[:6] != b"\x7fELF\x02\x01":
            raise ElfError("not a 64-bit little-endian ELF file")
        (table,) = self._unpack("<Q", 32)
        entry_bytes, count = self._unpack("<HH", 54)
        if entry_bytes < 56 or count > MAX_SEGMENTS:
            raise ElfError(f"{count} program headers of {entry_bytes} bytes")
        loaded, dynamic = [], (0, 0)
        for index in range(count):
            kind, _, offset, address, _, size = self._unpack("<IIQQQQ", table + index * entry_bytes)
            if kind == PT_LOAD:
                loaded.append(Segment(offset, address, size))
            elif kind == PT_DYNAMIC:
                dynamic = (offset, size)
        return tuple(loaded), dynamic

    def _read_dynamic(self, offset: int, size: int) -> dict[int, list[int]]:
        tags: dict[int, list[int]] = {}
        for index in range(min(size // 16, MAX_DYNAMIC)):
            tag, value = self._unpack("<QQ", offset + 16 * index)
            if tag == DT_NULL:
                break
            tags.setdefault(tag, []).append(value)
        return tags

    def _all(self, tag: int) -> list[int]:
        return self._tags.get(tag, [])

    def _one(self, tag: int) -> int:
        values = self._tags.get(tag)
        if not values:
            raise ElfError(f"no dynamic entry {tag:#x}")
        return values[0]

    def _offset(self, address: int) -> int:
        """Return where in the file the byte at a memory address lies."""
        for segment in self._segments:
            if segment.address <= address < segment.address + segment.size_bytes:
                return address - segment.address + segment.file_offset
        raise ElfError(f"address {address:#x} is in no segment")

    def _string(self, offset: int) -> bytes:
        if offset >= self._one(DT_STRSZ):
            raise ElfError(f"string {offset} is beyond the table")
        start = self._offset(self._one(DT_STRTAB)) + offset
        if start >= len(self._data):
            raise ElfError(f"string {offset} is beyond the file")
        end = self._data.find(b"\0", start, start + MAX_NAME_BYTES)
        if end < 0:
            raise ElfError("a string without an end")
        return self._data[start:end]

    def _symbol(self, index: int) -> tuple[int, ...]:
        """Return (name offset, info, other, section index) of a symbol."""
        return self._unpack("<IBBH", self._offset(self._one(DT_SYMTAB)) + SYMBOL_BYTES * index)

    def _n_symbols(self) -> int:
        """Return how many dynamic symbols there are, or at least all undefined ones.

        DT_HASH says it. DT_GNU_HASH only knows where the exported ones begin, after all
        undefined ones.
        """
        if DT_HASH in self._tags:
            _, count = self._unpack("<II", self._offset(self._one(DT_HASH)))
        else:
            _, count = self._unpack("<II", self._offset(self._one(DT_GNU_HASH)))
        if count > MAX_SYMBOLS:
            raise ElfError(f"{count} symbols")
        return count

    def _defined_names(self) -> set[bytes]:
        symbols = ((index, self._symbol(index)) for index in range(1, self._n_symbols()))
        return {self._string(symbol[0]) for _, symbol in symbols if symbol[3] != SHN_UNDEF}

    def _find(self, table: int, name: bytes) -> bool:
        """Walk the chain of one bucket of the GNU hash table."""
        n_buckets, first, n_bloom, shift = self._unpack("<4I", table)
        if not n_buckets or not n_bloom:
            return False
        hashed = gnu_hash(name)
        (bloom,) = self._unpack("<Q", table + 16 + 8 * (hashed // 64 % n_bloom))
        if not (bloom >> hashed % 64 & 1 and bloom >> (hashed >> shift % 32) % 64 & 1):
            return False
        buckets = table + 16 + 8 * n_bloom
        chains = buckets + 4 * n_buckets
        (index,) = self._unpack("<I", buckets + 4 * (hashed % n_buckets))
        while first <= index <= MAX_SYMBOLS:
            (link,) = self._unpack("<I", chains + 4 * (index - first))
            if link | 1 == hashed | 1:
                name_offset, _, _, section = self._symbol(index)
                if section != SHN_UNDEF and self._string(name_offset) == name:
                    return True
            if link & 1:
                return False
            index += 1
        return False


def gnu_hash(name: bytes) -> int:
    """Return the 32-bit hash of a symbol's name that DT_GNU_HASH uses."""
    value = 5381
    for byte in name:
        value = (value * 33 + byte) & 0xFFFFFFFF
    return value
