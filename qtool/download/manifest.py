"""The manifest of a target folder: files that were verified, so that they need not be hashed again.

An append-only text file of checksummed lines (as in ``journal``), one JSON object each. A later
line about the same path replaces an earlier one. An entry is believed while the file's size and
modification time are what they were, and may be removed only by the name of the repository that it
was fetched from.
"""

import json
import os
import re
import threading
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from qtool.download.journal import decode_lines, encode_line

NEVER_NS = -1
"""A modification time that no file has."""
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Verified:
    """A file whose digest was found right. ``digest`` is None when the hub gave none.

    ``fetched_from`` is the repository (as of ``partials.repo_key``) that qtool fetched it from,
    None for a file that was there before, or is needed by several repositories. ``mtime_ns`` is
    negative once the file has turned out not to be as it was.
    """

    path: str
    size: int
    mtime_ns: int
    digest: str | None
    commit: str
    fetched_from: str | None = None


class Manifest:
    """The verified files of a target. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._entries: dict[str, Verified] = {}
        self._history: list[Verified] = []
        self._is_clean = True
        self._load()

    def find(self, path: str) -> Verified | None:
        """Return what is known about a file of the repository."""
        return self._entries.get(path)

    def add(self, entry: Verified) -> None:
        """Note a verified file whose content has been synced. Raises OSError."""
        line = _encode(entry)
        with self._lock:
            if not self._is_clean:
                self._rewrite()
            fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(fd, line)
            finally:
                os.close(fd)
            self._note(entry)

    def distrust(self, path: str) -> None:
        """Note that a file is not as it was, whatever its time says. Raises OSError."""
        if (entry := self.find(path)) is not None:
            self.add(replace(entry, mtime_ns=min(-entry.mtime_ns, NEVER_NS)))

    def entries(self) -> tuple[Verified, ...]:
        """Return all that is known, the latest last."""
        return tuple(self._entries.values())

    def history(self) -> tuple[Verified, ...]:
        """Return all that was noted, also of what was replaced since; the oldest may be forgotten.

        Files that were only found right again are in it once more.
        """
        return tuple(self._history)

    def forget(self, paths: Collection[str]) -> None:
        """Drop what is known about files that are gone, and the history. Raises OSError."""
        with self._lock:
            self._entries = {p: entry for p, entry in self._entries.items() if p not in paths}
            self._history = list(self._entries.values())
            self._rewrite()

    def _load(self) -> None:
        if not self._path.is_file():  # also a pipe, which would never answer
            return
        content = self._path.read_bytes()
        records = decode_lines(content)
        for record in records:
            entry = _parse(record)
            if entry is not None:
                self._note(entry)
        # A torn line would hide all that is appended behind it; old lines pile up.
        n_lines = content.count(b"\n")
        is_torn = len(records) != n_lines or not content.endswith(b"\n")
        self._is_clean = not is_torn and n_lines <= 2 * len(self._entries) + 100

    def _note(self, entry: Verified) -> None:
        self._entries.pop(entry.path, None)  # for the latest to be the last
        self._entries[entry.path] = entry
        self._history.append(entry)

    def _rewrite(self) -> None:
        fresh = self._path.with_name(self._path.name + ".new")
        with fresh.open("wb") as stream:
            stream.writelines(map(_encode, self._entries.values()))
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(self._path)
        self._is_clean = True


def _encode(entry: Verified) -> bytes:
    # dataclasses.asdict copies deeply, which takes longer than all the rest.
    fields = {name: getattr(entry, name) for name in Verified.__slots__}
    return encode_line(json.dumps(fields, ensure_ascii=True))


def _parse(record: str) -> Verified | None:
    try:
        fields = json.loads(record)
        entry = Verified(**fields)
    except (ValueError, TypeError, RecursionError):
        return None
    is_sound = isinstance(entry.path, str) and isinstance(entry.size, int)
    is_sound &= isinstance(entry.mtime_ns, int) and isinstance(entry.commit, str)
    is_sound &= isinstance(entry.fetched_from, str | None) and _is_digest(entry.digest)
    return entry if is_sound else None


def _is_digest(value: object) -> bool:
    """Return whether a digest is one, or None. Notes may be forged, and a digest names a file."""
    return value is None or (isinstance(value, str) and _DIGEST.fullmatch(value) is not None)
