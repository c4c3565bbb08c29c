"""The files that are missing, brought to their places: jobs, crew, progress."""

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from qtool.download.crew import Crew
from qtool.download.disk import check_space, disk_errors
from qtool.download.events import (
    DownloadResult,
    EndpointDropped,
    Event,
    FileFinished,
    FileResult,
    OnEvent,
    Planned,
    Waiting,
)
from qtool.download.finish import SMALL_FOLDER, Finisher
from qtool.download.growth import Growth
from qtool.download.job import Job
from qtool.download.mirrors import MOST_CONNECTIONS, Fleet, Mirror
from qtool.download.pacing import RateLimit
from qtool.download.partials import PARTIAL_FOLDER, identity_of, is_small, remove_orphans
from qtool.download.progress import Meter, Tally
from qtool.download.provenance import Provenance
from qtool.download.recruiter import Recruiter
from qtool.download.request import DEFAULT_CONNECTIONS, DownloadRequest
from qtool.download.schedule import Schedule, Task
from qtool.download.sinks import MemorySink, PartialFile
from qtool.download.source import Source
from qtool.download.target import Target
from qtool.download.transfer import Workshop
from qtool.hub.choice import Choice
from qtool.hub.client import HubClient
from qtool.hub.connection import ConnectionPool
from qtool.hub.repo import RemoteFile

MAX_FOR_SMALL = 48
RATE_PER_CONNECTION = 512 * 1024
# For less, mirrors that nobody named are not bothered unless the chosen one fails.
MUCH_BYTES = 16 * 1024 * 1024
SAME_WAIT_S = 0.5


class Fetch:
    """One run over the missing files of a target."""

    def __init__(
        self,
        request: DownloadRequest,
        choice: Choice,
        target: Target,
        pool: ConnectionPool,
    ) -> None:
        self.bytes_by_endpoint: dict[str, int] = {}
        self.dropped: dict[str, str] = {}
        self._request = request
        self._choice = choice
        self._listing = choice.listing
        self._target = target
        self._layout = target.layout
        self._pool = pool
        self._mirror = self._as_mirror(choice.client)
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._told_until_s: dict[str, float] = {}
        self._stop = threading.Event()

    def run(
        self,
        files: Sequence[RemoteFile],
        known: DownloadResult,
        on_event: OnEvent,
        stop: threading.Event,
    ) -> tuple[FileResult, ...]:
        """Fetch ``files``; ``known`` holds the results of those in place already.

        Raises ResourceError when the disk is too small or the target cannot be written to,
        KeyboardInterrupt when ``stop`` is set.
        """
        self._remove_orphans(known)
        unique = self._target.by_content(files).values()
        jobs = [self._job(file) for file in sorted(unique, key=lambda file: not is_small(file))]
        tally = _tally(jobs, known)
        on_event(_planned(known, tally, jobs))
        if jobs:
            check_space(self._layout.root, tally.bytes_left)
            self._transfer(jobs, tally, on_event, stop)
        outcomes = {self._layout.content_path(job.file): job.outcome for job in jobs}
        results = [self._result(file, outcomes) for file in files]
        with disk_errors(self._layout.root):
            self._layout.finish()
        return tuple(results)

    def _remove_orphans(self, known: DownloadResult) -> None:
        """Remove what earlier runs have left that this one cannot go on with."""
        folder = self._layout.state_dir / PARTIAL_FOLDER
        remove_orphans(folder, self._listing, {file.path for file in known.files})
        with disk_errors(self._layout.root):
            for path in (self._layout.state_dir / SMALL_FOLDER).glob("*"):
                path.unlink(missing_ok=True)

    def _result(self, file: RemoteFile, outcomes: Mapping[Path, FileResult | None]) -> FileResult:
        """Return a file's result; one that shares another's content is put in its place."""
        outcome = outcomes[self._layout.content_path(file)]
        if outcome is None:
            raise AssertionError(f"{file.path} was neither fetched nor given up")
        if outcome.path == file.path:
            return outcome
        if outcome.error is None:
            self._target.adopt(file)
        return replace(outcome, path=file.path)

    def _transfer(
        self,
        jobs: Sequence[Job],
        tally: Tally,
        on_event: OnEvent,
        stop: threading.Event,
    ) -> None:
        fleet = self._fleet(jobs)
        shop = self._workshop(jobs, tally, fleet)
        meter = Meter(tally, shop.schedule, shop.jobs, fleet, time.monotonic)
        growth = Growth(fleet.wanted, fleet.most) if self._is_automatic else None

        def tick() -> None:
            if stop.is_set():
                raise KeyboardInterrupt
            while not self._events.empty():
                on_event(self._events.get())
            on_event(meter.read())

        for job in jobs:
            if job.file.size_bytes == 0:
                shop.finisher.finish_empty(job)
        recruiter = Recruiter(self._choice, jobs, fleet, self._as_mirror, self._stop)
        recruiter.start(is_urgent=self._is_help_welcome(tally))
        try:
            Crew(shop, self._pool, growth).run(tick, self._wake)
        finally:
            received = {mirror.url: mirror.bytes_received for mirror in fleet.mirrors}
            self.bytes_by_endpoint = {url: count for url, count in received.items() if count}
        tick()

    def _workshop(self, jobs: Sequence[Job], tally: Tally, fleet: Fleet) -> Workshop:
        schedule = Schedule((job.task for job in jobs), max_files=self._request.max_files)
        rate = self._request.rate_limit_bytes_per_s
        return Workshop(
            schedule,
            {job.task: job for job in jobs},
            fleet,
            RateLimit(rate) if rate else None,
            Finisher(self._target, schedule, tally, self._reporter(tally)),
            tally,
            self._stop,
            self._report_wait,
        )

    def _reporter(self, tally: Tally) -> Callable[[FileResult], None]:
        """Return what is called with each file's outcome; the last one ends the waiting."""

        def report(result: FileResult) -> None:
            self._events.put(FileFinished(result))
            if tally.settle() == 0:
                self._wake.set()

        return report

    def _as_mirror(self, client: HubClient) -> Mirror:
        return Mirror(client, self._request.connections or MAX_FOR_SMALL, self._report_dropped)

    def _is_help_welcome(self, tally: Tally) -> bool:
        """Return whether to ask other endpoints at once, not only in need."""
        is_much = tally.bytes_left >= MUCH_BYTES
        return is_much or not self._request.is_choice_automatic

    @property
    def _is_automatic(self) -> bool:
        """Return whether the number of connections is found out, not given."""
        request = self._request
        return request.connections is None and request.rate_limit_bytes_per_s is None

    def _fleet(self, jobs: Sequence[Job]) -> Fleet:
        n_connections = _bulk_connections(self._request)
        if not self._is_automatic:
            return Fleet([self._mirror], n_connections, n_connections)
        n_small = sum(job.task.is_small for job in jobs)
        n_for_small = max(0, min(n_small, MAX_FOR_SMALL) - n_connections)
        return Fleet([self._mirror], n_connections, MOST_CONNECTIONS, n_for_small)

    def _job(self, file: RemoteFile) -> Job:
        sources = [Source(self._mirror, self._listing.repo, self._listing.commit, file)]
        if is_small(file):
            gaps = [(0, file.size_bytes)] if file.size_bytes else []
            task = Task(file.size_bytes, gaps, is_small=True)
            return Job(file, MemorySink(file), task, sources)
        folder = self._layout.state_dir / PARTIAL_FOLDER
        sink = PartialFile(folder, file, identity_of(self._listing, file))
        task = Task(file.size_bytes, sink.gaps())
        return Job(
            file,
            sink,
            task,
            sources,
            is_resumed=sink.size_done() > 0,
            provenance=Provenance(sink.present()),
        )

    def _report_wait(self, job: Job, reason: str, wait_s: float) -> None:
        """Tell of a wait once, not once a connection."""
        ends_s = time.monotonic() + wait_s
        with self._lock:
            if ends_s < self._told_until_s.get(job.file.path, 0.0) + SAME_WAIT_S:
                return
            self._told_until_s[job.file.path] = ends_s
        self._events.put(Waiting(job.file.path, reason, wait_s))

    def _report_dropped(self, url: str, reason: str) -> None:
        self.dropped[url] = reason
        self._events.put(EndpointDropped(url, reason))


def _bulk_connections(request: DownloadRequest) -> int:
    """Return the number of connections for large files; a low rate keeps but few of them busy."""
    wished = request.connections or DEFAULT_CONNECTIONS
    if request.rate_limit_bytes_per_s is None:
        return wished
    return max(1, min(wished, int(request.rate_limit_bytes_per_s / RATE_PER_CONNECTION)))


def _tally(jobs: Sequence[Job], known: DownloadResult) -> Tally:
    return Tally(
        n_files=len(known.files) + len(jobs),
        n_open=len(jobs),
        bytes_total=known.size_bytes + sum(job.file.size_bytes for job in jobs),
        bytes_done=known.size_bytes + sum(job.sink.size_done() for job in jobs),
    )


def _planned(known: DownloadResult, tally: Tally, jobs: Sequence[Job]) -> Planned:
    outdated = (
        f"{job.file.path} has changed on the hub since it was begun: it starts anew"
        for job in jobs
        if isinstance(job.sink, PartialFile) and job.sink.is_outdated
    )
    return Planned.of(
        known,
        n_files=tally.n_files,
        bytes_total=tally.bytes_total,
        bytes_present=tally.bytes_done,
        notes=outdated,
    )
