"""How far a download is and how fast it goes."""

from collections import deque
from collections.abc import Callable, Sequence

from qtool.download.events import DownloadResult, FileProgress, Progress
from qtool.download.job import Job
from qtool.download.mirrors import Fleet

WINDOW_S = 5.0
MAX_ACTIVE = 8


class Meter:
    """Reads the jobs' counters; the rate is that of the last seconds."""

    def __init__(
        self,
        jobs: Sequence[Job],
        known: DownloadResult,
        fleet: Fleet,
        clock: Callable[[], float],
    ) -> None:
        self._jobs = jobs
        self._fleet = fleet
        self._clock = clock
        self._known = known
        self._total = known.size_bytes + sum(job.file.size_bytes for job in jobs)
        self._samples: deque[tuple[float, int]] = deque([(clock(), 0)])

    def read(self) -> Progress:
        """Return where the download stands now."""
        received = sum(job.bytes_received for job in self._jobs)
        done = self._known.size_bytes + sum(job.sink.size_done() for job in self._jobs)
        finished = sum(job.outcome is not None for job in self._jobs)
        return Progress(
            bytes_done=done,
            bytes_total=self._total,
            rate_bytes_per_s=self._rate(received),
            n_files_done=len(self._known.files) + finished,
            n_files=len(self._known.files) + len(self._jobs),
            active=self._active(),
            n_endpoints=sum(mirror.bytes_received > 0 for mirror in self._fleet.live),
        )

    def _rate(self, received: int) -> float:
        now = self._clock()
        self._samples.append((now, received))
        while len(self._samples) > 2 and self._samples[0][0] < now - WINDOW_S:
            self._samples.popleft()
        then, earlier = self._samples[0]
        return (received - earlier) / (now - then) if now > then else 0.0

    def _active(self) -> tuple[FileProgress, ...]:
        begun = (job for job in self._jobs if job.outcome is None and job.task.in_flight)
        shown = [job for job, _ in zip(begun, range(MAX_ACTIVE), strict=False)]
        return tuple(
            FileProgress(job.file.path, job.sink.size_done(), job.file.size_bytes) for job in shown
        )
