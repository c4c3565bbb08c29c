"""The two digests by which hubs identify content.

LFS files by the sha256 of the content; the others by git's blob name, the sha1 of
``blob {size}\\0`` followed by the content (https://git-scm.com/book/en/v2/Git-Internals-Git-Objects).
"""

import hashlib
import sys
import threading
from pathlib import Path
from typing import Protocol

from qtool.hub.repo import RemoteFile

_BLOCK_BYTES = 1024 * 1024


class Taker(Protocol):
    """What bytes can be added to."""

    def update(self, data: memoryview, /) -> None:
        """Add bytes."""


class Digest(Taker, Protocol):
    """What hashlib's objects can do."""

    def copy(self) -> "Digest":
        """Return another digest of the same bytes."""

    def digest(self) -> bytes:
        """Return the digest."""

    def hexdigest(self) -> str:
        """Return the digest in lower-case hexadecimal."""


def new_digest(file: RemoteFile) -> Digest:
    """Return the running digest that ``file.digest`` is compared with (sha256 when it has none)."""
    if file.sha256 is None and file.git_sha1 is not None:
        digest = hashlib.sha1(usedforsecurity=False)
        digest.update(b"blob %d\0" % file.size_bytes)
        return digest
    return hashlib.sha256()


def digest_of(path: Path, file: RemoteFile, stop: threading.Event | None = None) -> str | None:
    """Return the digest of the content at ``path`` in the kind of ``file``; None when stopped.

    Bytes beyond the size of ``file`` are left out. Raises OSError when it cannot be read.
    """
    digest = new_digest(file)
    return digest.hexdigest() if hash_file(path, digest, stop, file.size_bytes) else None


def hash_file(
    path: Path,
    digest: Taker,
    stop: threading.Event | None = None,
    size_bytes: int | None = None,
) -> bool:
    """Add the content at ``path``, at most ``size_bytes`` of it, to ``digest``; False when stopped.

    Raises OSError when it cannot be read.
    """
    block = memoryview(bytearray(_BLOCK_BYTES))
    left_bytes = sys.maxsize if size_bytes is None else size_bytes
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(block[:left_bytes]):
            if stop is not None and stop.is_set():
                return False
            digest.update(block[:count])
            left_bytes -= count
    return True
