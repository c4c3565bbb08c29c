"""What was asked of a hub and what it sent, for tests that count."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from tests.hub.faults import FaultKind, Role


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request and its response. Times are of ``time.monotonic``, in seconds.

    ``target`` is the request line's target as sent; ``path`` the repository file it concerns, if
    any; ``bytes_sent`` counts the body alone. ``status`` is None while there is no response, and
    stays so when the connection ended before. ``finished_at`` is None while it is being sent.
    """

    number: int
    role: Role
    method: str
    target: str
    headers: dict[str, str]
    peer_port: int
    started_at: float
    path: str | None = None
    repo_id: str | None = None
    status: int | None = None
    bytes_sent: int = 0
    faults: tuple[FaultKind, ...] = ()
    finished_at: float | None = None

    @property
    def range(self) -> str | None:
        return self.headers.get("range")

    @property
    def has_authorization(self) -> bool:
        return "authorization" in self.headers


@dataclass(slots=True)
class OpenEntry:
    """A record that is still being written, by the one thread that serves the request."""

    record: RequestRecord
    bytes_sent: int = 0
    status: int | None = None
    path: str | None = None
    repo_id: str | None = None
    faults: list[FaultKind] = field(default_factory=list)
    finished_at: float | None = None

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Note the time when the response is over, however it ends."""
        try:
            yield
        finally:
            self.finished_at = time.monotonic()

    def snapshot(self) -> RequestRecord:
        return replace(
            self.record,
            path=self.path,
            repo_id=self.repo_id,
            status=self.status,
            bytes_sent=self.bytes_sent,
            faults=tuple(self.faults),
            finished_at=self.finished_at,
        )


class RequestLog:
    """All requests since the last reset, and the peak number of connections per role."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[OpenEntry] = []
        self._open_connections: dict[Role, int] = {"hub": 0, "cdn": 0}
        self._peaks: dict[Role, int] = {"hub": 0, "cdn": 0}
        self._accepted: dict[Role, int] = {"hub": 0, "cdn": 0}

    def begin(
        self, role: Role, method: str, target: str, headers: dict[str, str], peer_port: int
    ) -> OpenEntry:
        with self._lock:
            record = RequestRecord(
                len(self._entries), role, method, target, headers, peer_port, time.monotonic()
            )
            entry = OpenEntry(record)
            self._entries.append(entry)
            return entry

    def records(self) -> list[RequestRecord]:
        with self._lock:
            return [entry.snapshot() for entry in self._entries]

    def bytes_sent(self, path: str | None = None, role: Role | None = None) -> int:
        """Bytes of bodies sent so far, of one file or one role if given."""
        with self._lock:
            return sum(
                entry.bytes_sent
                for entry in self._entries
                if path in (None, entry.path) and role in (None, entry.record.role)
            )

    def connection_opened(self, role: Role) -> int:
        """Count a connection in; returns how many are open at this role now."""
        with self._lock:
            self._accepted[role] += 1
            self._open_connections[role] += 1
            self._peaks[role] = max(self._peaks[role], self._open_connections[role])
            return self._open_connections[role]

    def connection_closed(self, role: Role) -> None:
        with self._lock:
            self._open_connections[role] -= 1

    def connections(self, role: Role | None = None) -> tuple[int, int, int]:
        """Connections of one role or both: (open now, most at once, accepted in all)."""
        with self._lock:
            roles = [role] if role else list(self._peaks)
            return (
                sum(self._open_connections[r] for r in roles),
                sum(self._peaks[r] for r in roles),
                sum(self._accepted[r] for r in roles),
            )

    def reset(self) -> None:
        with self._lock:
            self._entries.clear()
            self._peaks = dict(self._open_connections)
            self._accepted = {"hub": 0, "cdn": 0}
