"""How patient, how many at most, how fast: retries, connections at work, bytes per second."""

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

    __slots__ = ("_clock", "_lock", "_round_ends_at", "_rounds")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._rounds = 0
        self._round_ends_at = float("-inf")

    @property
    def is_exhausted(self) -> bool:
        """Return whether it is time to give up."""
        return self._rounds >= MAX_ROUNDS

    @property
    def is_waiting(self) -> bool:
        """Return whether the wait after a failure is not over yet."""
        return self._clock() < self._round_ends_at

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


class Silence:
    """How much longer than usual a server may be silent: longer when it has been so repeatedly.

    A mirror may fetch a whole block itself before it sends the end of what it was asked for (olah
    does, 32 MiB); a connection ended meanwhile makes it begin that block anew. Thread-safe.
    """

    MOST = 4
    SAME_S = 1.0
    FORGET_S = 60.0

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._n_stalls = 0
        self._noted_at = float("-inf")

    @property
    def factor(self) -> int:
        """Return how many times the usual silence is to be borne."""
        if self._clock() - self._noted_at > self.FORGET_S:
            return 1
        return int(min(2 ** max(0, self._n_stalls - 1), self.MOST))

    def note_stall(self) -> None:
        """Note that silence has ended a connection; those that end together count once."""
        with self._lock:
            since_s = self._clock() - self._noted_at
            if since_s < self.SAME_S:
                return
            self._n_stalls = 1 if since_s > self.FORGET_S else self._n_stalls + 1
            self._noted_at = self._clock()


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

    def push_back(self, n_served: int = 0) -> None:
        """Lower the number, at most once a second: to what is being served, else to half."""
        with self._lock:
            now = self._clock()
            if now - self._changed_at >= self.COOLDOWN_S or self._allowed == self._most:
                half = max(1, self._allowed // 2)
                self._allowed = n_served if 0 < n_served < self._allowed else half
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
