"""What a download tells while it runs, and what it returns."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from qtool.download.damage import Damage, DamageKind
from qtool.errors import QtoolError
from qtool.hub.repo import RemoteFile


class FileStatus(StrEnum):
    """How a file came to be there."""

    DOWNLOADED = "downloaded"
    RESUMED = "resumed"
    SKIPPED = "skipped"
    VERIFIED = "verified"
    REPAIRED = "repaired"
    PLANNED = "planned"
    FAILED = "failed"
    MISSING = "missing"
    CORRUPT = "corrupt"
    OUTDATED = "outdated"


_ABSENT = frozenset(
    {
        FileStatus.PLANNED,
        FileStatus.FAILED,
        FileStatus.MISSING,
        FileStatus.CORRUPT,
        FileStatus.OUTDATED,
    }
)
_STATUS_OF = {
    DamageKind.MISSING: FileStatus.MISSING,
    DamageKind.OUTDATED: FileStatus.OUTDATED,
}


@dataclass(frozen=True, slots=True)
class FileResult:
    """A file's outcome; ``error`` is set when it failed, or is not as it should be.

    ``damage`` is what a check has found, also after it was repaired.
    ``is_verified``: the content was found to have the digest that the hub lists. False also where
    the hub lists none.
    """

    path: str
    size_bytes: int
    sha256: str | None
    status: FileStatus
    error: QtoolError | None = None
    is_verified: bool = False
    damage: Damage | None = None

    @classmethod
    def of(
        cls, file: RemoteFile, status: FileStatus, error: QtoolError | None = None
    ) -> "FileResult":
        """Return the outcome of a file that the hub lists."""
        is_verified = status not in _ABSENT and file.digest is not None
        return cls(file.path, file.size_bytes, file.sha256, status, error, is_verified)

    @classmethod
    def damaged(cls, file: RemoteFile, damage: Damage) -> "FileResult":
        """Return the outcome of a check that found something wrong."""
        status = _STATUS_OF.get(damage.kind, FileStatus.CORRUPT)
        return replace(cls.of(file, status, damage.to_error(file)), damage=damage)


@dataclass(frozen=True, slots=True)
class DownloadResult:
    """A download's outcome. ``path`` is the folder that holds the files.

    ``endpoints`` says how many bytes came from each, ``dropped`` why one was asked no more;
    ``extra`` are files that a check has found beside those of the commit.
    """

    repo_id: str
    revision: str
    commit: str
    path: Path
    files: tuple[FileResult, ...]
    bytes_transferred: int = 0
    seconds: float = 0.0
    endpoints: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        """Return the size of all files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def failures(self) -> tuple[FileResult, ...]:
        """Return the files that are not there."""
        return tuple(file for file in self.files if file.error is not None)

    @property
    def unverified(self) -> tuple[FileResult, ...]:
        """Return the files that are there, of which the hub lists no digest."""
        planned = FileStatus.PLANNED
        return tuple(
            file
            for file in self.files
            if file.error is None and file.status is not planned and not file.is_verified
        )


@dataclass(frozen=True, slots=True)
class Planned:
    """What will be fetched is known. ``bytes_present`` are there from an earlier run."""

    repo_id: str
    commit: str
    path: Path
    n_files: int
    n_files_present: int
    bytes_total: int
    bytes_present: int
    left_out: tuple[str, ...]
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        known: DownloadResult,
        *,
        n_files: int,
        bytes_total: int,
        bytes_present: int,
        notes: Iterable[str] = (),
    ) -> "Planned":
        """Return what is planned where ``known`` is in place; the numbers count that in."""
        return cls(
            known.repo_id,
            known.commit,
            known.path,
            n_files=n_files,
            n_files_present=len(known.files),
            bytes_total=bytes_total,
            bytes_present=bytes_present,
            left_out=known.left_out,
            notes=(*known.notes, *notes),
        )


@dataclass(frozen=True, slots=True)
class Asking:
    """Hubs are asked for the listing, which may take seconds."""

    urls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Checking:
    """A file that is there already is being hashed."""

    path: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class FileProgress:
    """A file of which some bytes have arrived."""

    path: str
    bytes_done: int
    bytes_total: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the whole download stands; ``rate_bytes_per_s`` is that of the last seconds.

    ``n_endpoints`` bytes have come from so far, dropped ones not counted.
    """

    bytes_done: int
    bytes_total: int
    rate_bytes_per_s: float
    n_files_done: int
    n_files: int
    active: tuple[FileProgress, ...]
    n_endpoints: int = 1


@dataclass(frozen=True, slots=True)
class FileFinished:
    """A file is in place, or given up."""

    result: FileResult


@dataclass(frozen=True, slots=True)
class Waiting:
    """A server asks for patience, or does not answer; ``wait_s`` until the next attempt."""

    path: str
    reason: str
    wait_s: float


@dataclass(frozen=True, slots=True)
class EndpointDropped:
    """Nothing more is asked of an endpoint in this download."""

    url: str
    reason: str


Event = Asking | Planned | Checking | Progress | FileFinished | Waiting | EndpointDropped
OnEvent = Callable[[Event], None]
