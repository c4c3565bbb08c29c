"""Connections that trickle: far slower than others for seconds, though never silent.

Such a connection is given up and its bytes are asked for on a new one. Slow is what brings less
than a sixteenth of what the others bring now, or of what connections have brought so far. Each
verdict lowers the memory of the latter, so that a line that has become slow as a whole costs a few
new connections and is then taken as it is.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

WINDOW_S = 4.0
SLOW_SHARE = 1 / 16
# Until better is known: a connection of less than 2 KiB/s is worth another attempt.
USUAL_BYTES_PER_S = 32 * 1024.0
# What brought less says little: much of it waited in the sockets' buffers.
TELLING_BYTES = 256 * 1024
TELLING_S = 0.5
FORGETTING = 1 / 4


@dataclass(slots=True, eq=False)
class Pace:
    """One connection's bytes; its thread adds to ``n_bytes``."""

    since_s: float
    n_bytes: int = 0
    before_bytes_per_s: float | None = None

    def bytes_per_s(self, now: float) -> float | None:
        """Return the rate of this window, or of the one before; None when it is too early."""
        elapsed_s = now - self.since_s
        return self.n_bytes / elapsed_s if elapsed_s >= TELLING_S else self.before_bytes_per_s


class Peers:
    """Compares the connections of a download with one another. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._paces: set[Pace] = set()
        self._usual_bytes_per_s = USUAL_BYTES_PER_S

    @contextmanager
    def joined(self) -> Iterator[Pace]:
        """Count a connection in while its body arrives."""
        pace = Pace(self._clock())
        with self._lock:
            self._paces.add(pace)
        try:
            yield pace
        finally:
            with self._lock:
                self._paces.discard(pace)
                self._learn(pace, self._clock())

    def is_laggard(self, pace: Pace) -> bool:
        """Return whether another connection would do better; judged once in WINDOW_S."""
        now = self._clock()
        elapsed_s = now - pace.since_s
        if elapsed_s < WINDOW_S:
            return False
        with self._lock:
            rate = pace.n_bytes / elapsed_s
            if rate < SLOW_SHARE * max(self._rate_of_others(pace, now), self._usual_bytes_per_s):
                self._usual_bytes_per_s *= FORGETTING
                return True
            self._learn(pace, now)
            pace.since_s, pace.n_bytes, pace.before_bytes_per_s = now, 0, rate
            return False

    def _rate_of_others(self, pace: Pace, now: float) -> float:
        rates = [one.bytes_per_s(now) for one in self._paces if one is not pace]
        known = [rate for rate in rates if rate is not None]
        return sum(known) / len(known) if known else 0.0

    def _learn(self, pace: Pace, now: float) -> None:
        if pace.n_bytes >= TELLING_BYTES:
            rate = pace.n_bytes / max(now - pace.since_s, 0.01)
            self._usual_bytes_per_s = (self._usual_bytes_per_s + rate) / 2
