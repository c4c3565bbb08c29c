"""What is written down about a kept engine, readable for its owner alone."""

import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from qtool.engines.kept.process_mark import end_process, is_running


@dataclass(frozen=True, slots=True)
class Record:
    """A kept engine.

    ``pid`` and ``mark`` are those of its holder, with whom it lives and dies; ``engine_pid`` is its
    own. ``fingerprint`` says of what model and options it was made. ``began_at`` is in seconds
    since 1970.
    """

    pid: int
    mark: str
    engine_pid: int
    url: str
    api_key: str = field(repr=False)
    alias: str
    kind: str
    model: str
    fingerprint: str
    keep_alive_s: float
    began_at: float

    @property
    def is_alive(self) -> bool:
        """Tell whether the holder, and so the engine, still runs."""
        return is_running(self.pid, self.mark)


class RecordFolder:
    """The folder of the records, one for a model at most.

    It is made with mode 0700, its files with 0600. A folder or file that somebody else owns, or
    may write, is not believed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self) -> None:
        """Make the folder, closed to others."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)

    def file_of(self, model: str, suffix: str = ".json") -> Path:
        """Return the file of the record for the model at the path ``model``, or one beside it."""
        return self.path / f"{hashlib.sha256(model.encode()).hexdigest()[:20]}{suffix}"

    def find(self, model: str) -> Record | None:
        """Return the record of the engine kept for ``model``, if that engine lives.

        What is left of one that does not is removed.
        """
        return self._read(self.file_of(model))

    def all(self) -> Iterator[Record]:
        """Yield the engines that are kept."""
        for file in sorted(self.path.glob("*.json")):
            if record := self._read(file):
                yield record

    def write(self, record: Record) -> None:
        """Write ``record`` whole, in place of what was there.

        Raises:
            OSError: it cannot be written; what was there still is.
        """
        target = self.file_of(record.model)
        part = target.with_suffix(f".{secrets.token_hex(4)}.part")
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                json.dump(asdict(record), file)
            part.replace(target)
        except OSError:
            part.unlink(missing_ok=True)
            raise

    def remove(self, record: Record) -> None:
        """Remove the record, unless another engine's took its place."""
        file = self.file_of(record.model)
        known = _parse(file)
        if known is None or known.pid == record.pid:
            file.unlink(missing_ok=True)

    def stop(self, record: Record) -> None:
        """End the engine and its holder."""
        end_process(record.pid, record.mark)
        self.remove(record)

    def _read(self, file: Path) -> Record | None:
        if not _is_private(self.path) or not _is_private(file):
            return None
        record = _parse(file)
        if record is not None and record.is_alive:
            return record
        with suppress(OSError):
            file.unlink()
        return None


def _parse(file: Path) -> Record | None:
    """Return the record in ``file``; ``None`` for anything else."""
    try:
        given = json.loads(file.read_bytes())
        record = Record(**{one.name: given[one.name] for one in fields(Record)})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    is_sound = isinstance(record.pid, int) and record.pid > 0 and isinstance(record.url, str)
    return record if is_sound else None


def _is_private(path: Path) -> bool:
    """Tell whether ``path`` is ours, and nobody else may do anything with it."""
    try:
        found = path.lstat()
    except OSError:
        return False
    is_link = stat.S_ISLNK(found.st_mode)
    return not is_link and found.st_uid == os.getuid() and not stat.S_IMODE(found.st_mode) & 0o077
