"""The endpoints of a download: how many connections each has and bears, and what they bring."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from qtool.download.pacing import ConnectionLimit, Patience, Silence
from qtool.hub.client import HubClient

log = logging.getLogger(__name__)

MOST_CONNECTIONS = 30
"""More than any endpoint is asked for unless the user says so."""

_SMOOTHING = 0.3
_SLOWEST_SHARE = 1 / 64
# So long the first byte may take before an endpoint counts as slow.
_CONNECTING_S = 1.0


class Mirror:
    """One endpoint at work. Thread-safe.

    ``limit`` sinks when the endpoint protests against the number of connections. ``dropped`` says
    why nothing more is asked of it, None while it is in use.
    """

    def __init__(
        self,
        client: HubClient,
        most: int,
        on_drop: Callable[[str, str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.client = client
        self.limit = ConnectionLimit(most, clock)
        self.patience = Patience(clock)
        self.silence = Silence(clock)
        self.dropped: str | None = None
        self.bytes_received = 0
        self.n_active = 0
        self.bytes_per_s: float | None = None
        self._on_drop = on_drop
        self._clock = clock
        self._lock = threading.Lock()
        self._n_served = 0
        self._sampled_s = clock()
        self._sampled_bytes = 0

    @property
    def url(self) -> str:
        """Return the endpoint's base URL."""
        return self.client.endpoint.url

    def enter(self) -> None:
        """Count a connection in."""
        with self._lock:
            self.n_active += 1

    def leave(self) -> None:
        """Count a connection out."""
        with self._lock:
            self.n_active -= 1

    def note_bytes(self, count: int) -> None:
        """Count bytes that have arrived."""
        with self._lock:
            self.bytes_received += count
        self.patience.note_bytes()

    @property
    def n_served(self) -> int:
        """Return how many connections are being answered."""
        return self._n_served

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Count a connection as one that the endpoint serves."""
        with self._lock:
            self._n_served += 1
        try:
            yield
        finally:
            with self._lock:
                self._n_served -= 1

    def push_back(self) -> None:
        """Use fewer connections: the endpoint protests."""
        self.limit.push_back(self._n_served)

    def drop(self, reason: str) -> None:
        """Ask nothing more of the endpoint; say so once."""
        with self._lock:
            if self.dropped is not None:
                return
            self.dropped = reason
        log.debug("%s dropped: %s", self.url, reason)
        self._on_drop(self.url, reason)

    def sample(self) -> None:
        """Learn what one connection brings, from the bytes since the last call."""
        with self._lock:
            now, count = self._clock(), self.bytes_received
            elapsed_s, received = now - self._sampled_s, count - self._sampled_bytes
            known = self.bytes_per_s
            is_connecting = known is None and self.n_active and not received
            if elapsed_s <= 0 or (is_connecting and elapsed_s < _CONNECTING_S):
                return
            self._sampled_s, self._sampled_bytes = now, count
            if self.n_active or received:
                rate = received / elapsed_s / max(1, self.n_active)
                self.bytes_per_s = rate if known is None else known + _SMOOTHING * (rate - known)


class Fleet:
    """All endpoints of a download; the first is the one that listed the repository.

    ``wanted`` is the number of connections that pay, ``extra`` those for small files on top;
    there will never be more than ``most``.
    """

    def __init__(self, mirrors: Iterable[Mirror], wanted: int, most: int, extra: int = 0) -> None:
        self.mirrors = list(mirrors)
        self.most = most
        self.wanted = wanted
        self.extra = extra

    @property
    def live(self) -> list[Mirror]:
        """Return the endpoints in use."""
        return [mirror for mirror in self.mirrors if mirror.dropped is None]

    def allowed(self) -> int:
        """Return the number of connections that may be at work now, on all endpoints together."""
        bearable = sum(mirror.limit.allowed() for mirror in self.live)
        return max(1, min(self.wanted + self.extra, bearable))

    def sample(self) -> None:
        """Learn what each endpoint brings."""
        for mirror in self.live:
            mirror.sample()

    def n_served(self) -> int:
        """Return how many connections are being answered."""
        return sum(mirror.n_served for mirror in self.live)

    def bytes_received(self) -> int:
        """Return the bytes that all endpoints have sent, those that were dropped included."""
        return sum(mirror.bytes_received for mirror in self.mirrors)


def least_loaded(mirrors: Iterable[Mirror]) -> Mirror:
    """Return where one more connection brings most: few there already, each of them fast.

    An endpoint that has brought nothing yet counts as fast as the fastest.
    """
    candidates = list(mirrors)
    fastest = max((mirror.bytes_per_s or 0.0 for mirror in candidates), default=0.0) or 1.0

    def load(mirror: Mirror) -> float:
        speed = fastest if mirror.bytes_per_s is None else mirror.bytes_per_s
        return (mirror.n_active + 1) / max(speed, fastest * _SLOWEST_SHARE)

    return min(candidates, key=load)
