"""A check of what is in place: every file is read, no note of an earlier run is trusted."""

import codecs
import logging
import os
import stat
import threading
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from qtool.download.damage import Damage, DamageKind
from qtool.download.digests import digest_of, hash_file
from qtool.download.events import Checking, FileResult, FileStatus, OnEvent
from qtool.download.layout import place_of
from qtool.download.prefixes import NotingDigest
from qtool.download.ranges import Range, RangeSet
from qtool.download.survey import WORTH_TELLING_BYTES
from qtool.download.target import Target
from qtool.errors import ResourceError
from qtool.hub.repo import RemoteFile

log = logging.getLogger(__name__)

MAX_EXTRA = 1000
# https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md
_POINTER_START = b"version https://git-lfs.github.com/spec/v1\n"
_MAX_POINTER_BYTES = 1024
# As git tells a binary file: a NUL in so many first bytes.
# https://github.com/git/git/blob/v2.43.0/xdiff-interface.c#L187
_PROBE_BYTES = 8000


class Verifier:
    """Says of files in place what is wrong with them; changes none."""

    def __init__(self, target: Target, on_event: OnEvent, stop: threading.Event) -> None:
        self._target = target
        self._layout = target.layout
        self._on_event = on_event
        self._stop = stop

    def verify(self, files: Sequence[RemoteFile]) -> Iterator[FileResult]:
        """Yield an outcome for each file; that of a wrong one carries damage and error.

        Raises KeyboardInterrupt when stopped.
        """
        return map(self._result, files)

    def damage_of(self, file: RemoteFile) -> Damage | None:
        """Return what is wrong with a file, None when it is right. Raises ResourceError."""
        path = place_of(file, self._layout)
        with _read_errors(path):
            size = _size_of(path)
            if size is None:
                return Damage(DamageKind.MISSING, None, ((0, file.size_bytes),))
            digest = self._hash(path, file) if size == file.size_bytes else None
            if digest is not None and _is_right(digest, file):
                is_seen = self._layout.final_path(file).exists()
                return None if is_seen else Damage(DamageKind.MISSING, size, ())
            return self._damage(path, file, size, digest)

    def _result(self, file: RemoteFile) -> FileResult:
        try:
            damage = self.damage_of(file)
        except ResourceError as exc:
            return FileResult.of(file, FileStatus.FAILED, exc)
        if damage is None:
            return FileResult.of(file, FileStatus.VERIFIED)
        if self._target.is_known(file):
            self._distrust(file)
        return FileResult.damaged(file, damage)

    def _distrust(self, file: RemoteFile) -> None:
        """Keep later downloads from taking the file for the one that was verified once."""
        try:
            self._target.manifest.distrust(file.path)
        except OSError as exc:
            log.debug("%s: the manifest still says that it is right: %s", file.path, exc)

    def _damage(
        self, path: Path, file: RemoteFile, size: int, digest: NotingDigest | None
    ) -> Damage:
        if _is_pointer(path, size):
            return Damage(DamageKind.POINTER, size)
        if self._is_of_other_commit(path, file, size):
            return Damage(DamageKind.OUTDATED, size)
        kind = DamageKind.CORRUPT
        if size != file.size_bytes:
            kind = DamageKind.TOO_SHORT if size < file.size_bytes else DamageKind.TOO_LONG
        ranges = self._bad_ranges(file, size, digest or self._hash(path, file))
        return Damage(kind, size, None if ranges is None else tuple(ranges), is_text(path))

    def _bad_ranges(self, file: RemoteFile, size: int, digest: NotingDigest) -> list[Range] | None:
        """Return which bytes are wrong, as far as notes of right content or the size tell.

        Of what is there only the first wrong block can be told.
        """
        if size > file.size_bytes and _is_right(digest, file):
            return []
        lacking = [(size, file.size_bytes)] if size < file.size_bytes else []
        right = self._target.prefixes.find(file)
        if right is None:
            return lacking or None
        block = right.first_difference(digest.prefixes())
        # Where nothing differs from notes of right content, the notes are wrong.
        return None if block is None else list(RangeSet([block, *lacking]))

    def _hash(self, path: Path, file: RemoteFile) -> NotingDigest:
        """Hash what is there, to the size that the file should have."""
        if file.size_bytes > WORTH_TELLING_BYTES:
            self._on_event(Checking(file.path, file.size_bytes))
        digest = NotingDigest(file)
        if not hash_file(path, digest, self._stop, file.size_bytes):
            raise KeyboardInterrupt
        return digest

    def _is_of_other_commit(self, path: Path, file: RemoteFile, size: int) -> bool:
        """Return whether the file is as it was once noted, by qtool or huggingface_hub."""
        entry = self._target.manifest.find(file.path)
        noted = {entry.digest if entry else None, self._layout.noted_digest(file)}
        for digest in noted - {None, file.digest}:
            other = with_digest(file.path, size, digest)
            found = None if other.digest is None else digest_of(path, other, self._stop)
            if found is None and self._stop.is_set():
                raise KeyboardInterrupt
            if found == digest:
                return True
        return False


def is_text(path: Path) -> bool:
    """Return whether a file is there, holds anything, and looks like text. Raises OSError."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        probe = stream.read(_PROBE_BYTES)
    return bool(probe) and (b"\0" not in probe or _is_utf_16(probe))


def _is_utf_16(probe: bytes) -> bool:
    """Return whether bytes begin a text as Windows writes "Unicode": with its mark, and valid."""
    if not probe.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return False
    try:
        codecs.getincrementaldecoder("utf-16")().decode(probe)
    except UnicodeDecodeError:
        return False
    return True


def extra_files(root: Path, own: Container[str]) -> tuple[str, ...]:
    """Return files below ``root`` that are not among its ``own`` ones, a thousand at most.

    Hidden folders, such as ``.git`` and those of clients, are left out.
    """
    foreign = (path for path in _paths_below(root) if path not in own)
    return tuple(sorted(islice(foreign, MAX_EXTRA)))


def _is_right(digest: NotingDigest, file: RemoteFile) -> bool:
    """Return whether content is what the hub lists, as far as it lists a digest."""
    return file.digest is None or digest.hexdigest() == file.digest


def with_digest(path: str, size_bytes: int, digest: str | None) -> RemoteFile:
    """Return a file known by one digest, whose kind its length tells; odd ones are no digest."""
    kind = {64: "sha256", 40: "git_sha1"}.get(len(digest or ""))
    return RemoteFile(path, size_bytes, **({kind: digest} if kind else {}))


def _paths_below(root: Path) -> Iterator[str]:
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if not name.startswith("."))
        for name in files:
            yield Path(folder, name).relative_to(root).as_posix()


def _is_pointer(path: Path, size: int) -> bool:
    if size > _MAX_POINTER_BYTES:
        return False
    return path.read_bytes().startswith(_POINTER_START)


def _size_of(path: Path) -> int | None:
    """Return a file's size, None without it. Raises OSError for a folder, a device or a pipe."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(status.st_mode):
        raise OSError("it is not a file")
    return status.st_size


@contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into a ResourceError that names ``path``."""
    try:
        yield
    except OSError as exc:
        raise ResourceError(f"cannot read {path}: {exc.strerror or exc}") from exc
