"""How far a download is and how fast it goes."""

import threading
from collections import deque
from collections.abc import Callable, Mapping

from qtool.download.events import FileProgress, Progress
from qtool.download.job import Job
from qtool.download.mirrors import Fleet
from qtool.download.schedule import Schedule, Task

WINDOW_S = 5.0
MAX_ACTIVE = 8


class Tally:
    """What is there and what is open, kept by those who change it. Thread-safe.

    Counting through ten thousand files ten times a second would take more than fetching them.
    """

    def __init__(self, *, n_files: int, n_open: int, bytes_total: int, bytes_done: int) -> None:
        self.n_files = n_files
        self.n_open = n_open
        self.bytes_total = bytes_total
        self.bytes_done = bytes_done
        self._lock = threading.Lock()

    @property
    def bytes_left(self) -> int:
        """Return how many bytes are still to come."""
        return self.bytes_total - self.bytes_done

    def add_bytes(self, count: int) -> None:
        """Count bytes that are there now; negative for those that are thrown away."""
        with self._lock:
            self.bytes_done += count

    def settle(self) -> int:
        """Count a file that has its outcome; return how many are open still."""
        with self._lock:
            self.n_open -= 1
            return self.n_open


class RecentRate:
    """Bytes per second over the last seconds. Not thread-safe."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque([(clock(), 0)])

    def update(self, received: int) -> float:
        """Return the rate, now that ``received`` bytes have come in all."""
        now = self._clock()
        self._samples.append((now, received))
        while len(self._samples) > 2 and self._samples[0][0] < now - WINDOW_S:
            self._samples.popleft()
        then, earlier = self._samples[0]
        return (received - earlier) / (now - then) if now > then else 0.0


class Meter:
    """Reads the counters; the rate is that of the last seconds."""

    def __init__(
        self,
        tally: Tally,
        schedule: Schedule,
        jobs: Mapping[Task, Job],
        fleet: Fleet,
        clock: Callable[[], float],
    ) -> None:
        self._tally = tally
        self._schedule = schedule
        self._jobs = jobs
        self._fleet = fleet
        self._rate = RecentRate(clock)

    def read(self) -> Progress:
        """Return where the download stands now."""
        tally = self._tally
        return Progress(
            bytes_done=tally.bytes_done,
            bytes_total=tally.bytes_total,
            rate_bytes_per_s=self._rate.update(self._fleet.bytes_received()),
            n_files_done=tally.n_files - tally.n_open,
            n_files=tally.n_files,
            active=self._active(),
            n_endpoints=sum(mirror.bytes_received > 0 for mirror in self._fleet.live),
        )

    def _active(self) -> tuple[FileProgress, ...]:
        shown = [self._jobs[task] for task in self._schedule.begun()[:MAX_ACTIVE]]
        return tuple(
            FileProgress(job.file.path, job.sink.size_done(), job.file.size_bytes) for job in shown
        )
