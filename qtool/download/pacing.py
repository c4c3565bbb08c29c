"""How patient, how many, how fast: retries of a file, connections at work, bytes per second."""

import threading
import time
from collections.abc import Callable

FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 8.0
LONGEST_RETRY_AFTER_S = 300.0
MAX_ROUNDS = 6


class Patience:
    """Counts the rounds of attempts in which a file brought no byte. Thread-safe.

    Several connections that fail together fail once: within the wait that the first failure
    began, further ones do not count. Bytes reset the count, so a bad line is retried for ever.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._rounds = 0
        self._round_ends_at = float("-inf")

    @property
    def is_exhausted(self) -> bool:
        """Return whether it is time to give up."""
        return self._rounds >= MAX_ROUNDS

    def note_bytes(self) -> None:
        """Note that bytes have arrived."""
        self._rounds = 0

    def note_failure(self, retry_after_s: float | None = None) -> float:
        """Note a failed attempt; return how long to wait before the next, in seconds."""
        with self._lock:
            now = self._clock()
            if now >= self._round_ends_at:
                self._rounds += 1
                wait_s = min(FIRST_WAIT_S * 2 ** (self._rounds - 1), LONGEST_WAIT_S)
                wished_s = min(retry_after_s or 0.0, LONGEST_RETRY_AFTER_S)
                self._round_ends_at = now + max(wait_s, wished_s)
            return max(self._round_ends_at - now, 0.0)


class ConnectionLimit:
    """How many connections may be at work: halved when a server protests, then slowly raised."""

    RECOVERY_S = 5.0
    COOLDOWN_S = 1.0

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._allowed = most
        self._changed_at = float("-inf")

    def allowed(self) -> int:
        """Return the number of connections that may be at work now."""
        with self._lock:
            now = self._clock()
            if self._allowed < self._most and now - self._changed_at >= self.RECOVERY_S:
                self._allowed += 1
                self._changed_at = now
            return self._allowed

    def push_back(self) -> None:
        """Halve the number, at most once a second."""
        with self._lock:
            now = self._clock()
            if now - self._changed_at >= self.COOLDOWN_S or self._allowed == self._most:
                self._allowed = max(1, self._allowed // 2)
                self._changed_at = now


class RateLimit:
    """Slows all connections together down to a number of bytes per second."""

    def __init__(
        self,
        bytes_per_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._bytes_per_s = bytes_per_s
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free_at = clock()

    @property
    def piece_bytes(self) -> int:
        """Return how much to receive at a time, so that waits stay short."""
        return max(4096, int(self._bytes_per_s / 20))

    def spend(self, count: int) -> None:
        """Wait until ``count`` received bytes are within the rate."""
        with self._lock:
            now = self._clock()
            self._free_at = max(self._free_at, now) + count / self._bytes_per_s
            wait_s = self._free_at - now
        if wait_s > 0:
            self._sleep(wait_s)
