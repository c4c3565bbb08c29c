"""What a file of a repository consists of, readable at any offset.

Three kinds of content: ``bytes``, a ``Path`` to a real file, and ``Generated(size, seed)``, which
exists nowhere as a whole and so may be of any size. ``Blob`` adds the hashes a hub announces.
"""

import hashlib
import mmap
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Protocol

HASH_STEP_BYTES = 1 << 20
SMALL_GENERATED_BYTES = 1 << 20
POOL_PERIOD_BYTES = 4_194_319
"""A prime just above 4 MiB: ranges cut at round offsets never line up with the repetition, so a
range written to the wrong place always changes the sha256 of the file."""


@dataclass(frozen=True, slots=True)
class Generated:
    """Pseudo-random content of ``size_bytes``; equal size and seed give equal bytes."""

    size_bytes: int
    seed: int = 0


Content = bytes | Path | Generated


@dataclass(frozen=True, slots=True)
class Extent:
    """A stretch of an open file that holds the wanted bytes: what sendfile needs."""

    fd: int
    offset: int
    length: int


class Source(Protocol):
    """Open content. Both methods may give fewer bytes than asked for, never none."""

    def view(self, offset: int, length: int) -> memoryview:
        """The bytes from ``offset``; valid until the next call."""
        ...

    def extent(self, offset: int, length: int) -> Extent | None:
        """The same as a stretch of a file, or None when there is no file behind it."""
        ...


class MemorySource:
    """Bytes that are in memory anyway."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)

    def view(self, offset: int, length: int) -> memoryview:
        return self._data[offset : offset + length]

    def extent(self, offset: int, length: int) -> Extent | None:
        return None


class FileSource:
    """An open file; reads go through one buffer that is kept."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._buffer = memoryview(b"")

    def view(self, offset: int, length: int) -> memoryview:
        if len(self._buffer) < length:
            self._buffer = memoryview(bytearray(length))
        count = os.preadv(self._fd, [self._buffer[:length]], offset)
        if count == 0:
            raise EOFError(f"file behind the hub ends before offset {offset}")
        return self._buffer[:count]

    def extent(self, offset: int, length: int) -> Extent | None:
        return Extent(self._fd, offset, length)


@dataclass(frozen=True, slots=True)
class Pool:
    """The block that large generated content repeats, twice in a row in an anonymous file."""

    fd: int
    view: memoryview


@cache
def shared_pool() -> Pool:
    """Make the pool once a process; it is a constant and stays until the process ends."""
    block = random.Random("qtool loopback hub").randbytes(POOL_PERIOD_BYTES)
    fd = os.memfd_create("hub-pool")
    for copy in range(2):
        os.pwrite(fd, block, copy * POOL_PERIOD_BYTES)
    return Pool(fd, memoryview(mmap.mmap(fd, 2 * POOL_PERIOD_BYTES, prot=mmap.PROT_READ)))


class PoolSource:
    """Large generated content: the shared pool, entered at a place that depends on the seed."""

    def __init__(self, content: Generated) -> None:
        key = f"{content.size_bytes}:{content.seed}".encode()
        self._phase = int.from_bytes(hashlib.sha256(key).digest()[:8]) % POOL_PERIOD_BYTES
        self._pool = shared_pool()

    def view(self, offset: int, length: int) -> memoryview:
        start = (offset + self._phase) % POOL_PERIOD_BYTES
        return self._pool.view[start : start + min(length, POOL_PERIOD_BYTES)]

    def extent(self, offset: int, length: int) -> Extent | None:
        start = (offset + self._phase) % POOL_PERIOD_BYTES
        return Extent(self._pool.fd, start, min(length, POOL_PERIOD_BYTES))


@contextmanager
def open_content(content: Content) -> Iterator[Source]:
    """Open any content for reading at any offset."""
    if isinstance(content, bytes):
        yield MemorySource(content)
    elif isinstance(content, Generated):
        yield generated_source(content)
    else:
        fd = os.open(content, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield FileSource(fd)
        finally:
            os.close(fd)


def generated_source(content: Generated) -> Source:
    """Make small content in full, so that many small files all differ; take large from the pool."""
    if content.size_bytes > SMALL_GENERATED_BYTES:
        return PoolSource(content)
    return MemorySource(small_generated(content))


@lru_cache(maxsize=32)
def small_generated(content: Generated) -> bytes:
    return random.Random(f"{content.seed}").randbytes(content.size_bytes)


def content_size(content: Content) -> int:
    if isinstance(content, Generated):
        return content.size_bytes
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def read_content(content: Content, offset: int = 0, length: int | None = None) -> bytes:
    """Read a stretch into memory; for tests that compare."""
    size = content_size(content)
    stop = size if length is None else min(size, offset + length)
    with open_content(content) as source:
        return b"".join(bytes(part) for part in walk(source, offset, stop))


def walk(source: Source, start: int, stop: int) -> Iterator[memoryview]:
    while start < stop:
        part = source.view(start, min(HASH_STEP_BYTES, stop - start))
        yield part
        start += len(part)


def hash_content(content: Content, algorithm: str, prefix: bytes = b"") -> str:
    digest = hashlib.new(algorithm, prefix, usedforsecurity=False)
    with open_content(content) as source:
        for part in walk(source, 0, content_size(content)):
            digest.update(part)
    return digest.hexdigest()


@lru_cache(maxsize=256)
def generated_sha256(content: Generated) -> str:
    """Hash generated content once a process; it costs about a second per GiB."""
    return hash_content(content, "sha256")


class Blob:
    """Content together with its size and hashes, each computed when first asked for."""

    def __init__(self, content: Content) -> None:
        self.content = content.absolute() if isinstance(content, Path) else content
        self.size_bytes = content_size(content)

    @cached_property
    def sha256(self) -> str:
        if isinstance(self.content, Generated):
            return generated_sha256(self.content)
        return hash_content(self.content, "sha256")

    @cached_property
    def git_sha1(self) -> str:
        """The object name git gives a blob of this content."""
        return hash_content(self.content, "sha1", b"blob %d\0" % self.size_bytes)
