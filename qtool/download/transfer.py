"""One connection at work: take a segment, receive it, write it, and say so."""

import logging
import mmap
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from qtool.download.faults import FaultKind, TransferFault, broken
from qtool.download.finish import Finisher
from qtool.download.job import Job
from qtool.download.mirrors import Fleet
from qtool.download.pacing import RateLimit
from qtool.download.peers import Pace, Peers
from qtool.download.progress import Tally
from qtool.download.schedule import Schedule, Segment, Task
from qtool.download.sinks import MemorySink
from qtool.download.source import Source
from qtool.errors import IntegrityError, NetworkError, QtoolError, ResourceError
from qtool.hub.client import is_hopeless, untrusted
from qtool.hub.connection import WIRE_ERRORS, AbortedError
from qtool.hub.exchange import Exchange

log = logging.getLogger(__name__)

BUFFER_BYTES = 512 * 1024
# So many bytes are written and noted at a time: what is not noted is lost with the process.
FLUSH_BYTES = 256 * 1024
IDLE_S = 0.01


@dataclass(frozen=True, slots=True)
class Workshop:
    """What all connections of a download share."""

    schedule: Schedule
    jobs: dict[Task, Job]
    fleet: Fleet
    rate_limit: RateLimit | None
    finisher: Finisher
    tally: Tally
    stop: threading.Event
    on_wait: Callable[[Job, str, float], None]
    peers: Peers = field(default_factory=Peers)


class Worker:
    """One connection's loop; ``run`` is the body of a thread."""

    def __init__(self, shop: Workshop, index: int, *, is_for_small: bool = False) -> None:
        self._shop = shop
        self._index = index
        self._is_for_small = is_for_small
        # Of an anonymous map only those pages take memory that a small file ever touches.
        self._buffer = memoryview(mmap.mmap(-1, BUFFER_BYTES))

    def run(self) -> None:
        """Fetch segments until nothing is left or the download is stopped."""
        shop = self._shop
        while not shop.stop.is_set() and not self._is_superfluous():
            allowed = shop.fleet.allowed()
            segment = self._take() if self._index < allowed else None
            if segment is None:
                shop.stop.wait(IDLE_S)
                continue
            wait_s = self._fetch(shop.jobs[segment.task], segment)
            if wait_s > 0:
                shop.stop.wait(wait_s)

    def _is_superfluous(self) -> bool:
        schedule = self._shop.schedule
        return schedule.is_finished or (self._is_for_small and not schedule.has_small)

    def _take(self) -> Segment | None:
        # Cut for as many as there may be: what is cut for few keeps the front, and hashing, back.
        shop = self._shop
        return shop.schedule.take(shop.fleet.most, is_for_small=self._is_for_small)

    def _fetch(self, job: Job, segment: Segment) -> float:
        """Fetch a segment, or as much of it as comes; return how long to wait after a failure."""
        source = job.take_source()
        if source is None:
            self._shop.schedule.release(segment)
            return IDLE_S
        try:
            exchange, skip = source.open(
                segment.position, segment.end, accepts_whole=segment.task.is_whole
            )
            self._shop.schedule.note_answered(segment)
            exchange.bear_silence(source.mirror.silence.factor)
            with source.mirror.serving():
                self._receive(job, source, segment, exchange, skip)
        except AbortedError:
            return 0.0
        except TransferFault as fault:
            return self._answer(job, source, segment, fault)
        except WIRE_ERRORS as exc:
            if isinstance(exc, TimeoutError):
                source.mirror.silence.note_stall()
            if not is_hopeless(exc):
                return self._answer(job, source, segment, broken(exc))
            self._give_up(job, source, untrusted(source.endpoint_url, exc))
        except ValueError as exc:  # what a server says that Python's library cannot take
            log.debug("%s", job.file.path, exc_info=True)
            return self._answer(job, source, segment, broken(exc))
        except ResourceError as exc:
            self._shop.finisher.fail(job, _about(job, exc))
        except QtoolError as exc:
            self._give_up(job, source, _about(job, exc))
        finally:
            source.mirror.leave()
            self._shop.schedule.release(segment)
            self._finish_if_small(job)
        return 0.0

    def _receive(
        self, job: Job, source: Source, segment: Segment, exchange: Exchange, skip: int
    ) -> None:
        try:
            with self._shop.peers.joined() as pace:
                self._skip(exchange, skip, pace)
                while self._shop.schedule.wanted(segment) > 0:
                    pace.n_bytes += self._receive_piece(job, source, segment, exchange)
                    self._check_pace(pace)
        finally:
            exchange.close()

    def _receive_piece(self, job: Job, source: Source, segment: Segment, exchange: Exchange) -> int:
        """Receive what is at hand and write it."""
        wanted = min(self._shop.schedule.wanted(segment), self._piece_bytes())
        filled = exchange.fill(self._buffer[:wanted], FLUSH_BYTES)
        if not filled:
            raise TransferFault(FaultKind.BROKEN, "the connection ended too early")
        self._store(job, source, segment, filled)
        return filled

    def _store(self, job: Job, source: Source, segment: Segment, filled: int) -> None:
        start, end = self._shop.schedule.claim(segment, filled)
        if start < end:
            for new_start, new_end in job.sink.write(start, self._buffer[: end - start]):
                job.note_written(new_start, new_end, source)
                self._shop.tally.add_bytes(new_end - new_start)
        source.note_bytes(filled)
        if self._shop.rate_limit is not None:
            self._shop.rate_limit.spend(filled)

    def _piece_bytes(self) -> int:
        limit = self._shop.rate_limit
        return BUFFER_BYTES if limit is None else min(BUFFER_BYTES, limit.piece_bytes)

    def _skip(self, exchange: Exchange, count: int, pace: Pace) -> None:
        while count > 0:
            received = exchange.read_into(self._buffer[: min(count, BUFFER_BYTES)])
            if not received:
                raise TransferFault(FaultKind.BROKEN, "the connection ended too early")
            count -= received
            pace.n_bytes += received
            self._check_pace(pace)

    def _check_pace(self, pace: Pace) -> None:
        if self._shop.peers.is_laggard(pace):
            raise TransferFault(FaultKind.BROKEN, "far slower than other connections")

    def _answer(self, job: Job, source: Source, segment: Segment, fault: TransferFault) -> float:
        """Decide what a fault means for the file; return how long this connection waits."""
        log.debug("%s at %d: %s: %s", job.file.path, segment.position, fault.kind, fault)
        if self._shop.stop.is_set():
            return 0.0
        if fault.kind is FaultKind.UNRANGED:
            if not job.give_up(source):
                self._shop.schedule.make_whole(segment.task)
            return 0.0
        if fault.kind is FaultKind.BUSY:
            source.mirror.push_back()
        wait_s = source.note_failure(fault.retry_after_s)
        if source.patience.is_exhausted:
            self._give_up(job, source, _final_error(job, source, fault))
            return 0.0
        if job.has_other(source):
            return 0.0
        if wait_s >= 1.0:
            self._shop.on_wait(job, str(fault), wait_s)
        return wait_s

    def _give_up(self, job: Job, source: Source, error: QtoolError) -> None:
        """Go on without a source; without any, give the file up."""
        if not job.give_up(source):
            self._shop.finisher.fail(job, error)
        elif source.mirror.patience.is_exhausted:
            source.mirror.drop(error.message)

    def _finish_if_small(self, job: Job) -> None:
        if not isinstance(job.sink, MemorySink) or not job.begin_finish():
            return
        try:
            self._shop.finisher.finish_small(job, job.sink)
        except QtoolError as exc:
            self._shop.finisher.fail(job, exc)


def _about(job: Job, error: QtoolError) -> QtoolError:
    """Return the error with the file's name in it."""
    if job.file.path in error.message:
        return error
    return type(error)(f"{job.file.path}: {error.message}", hint=error.hint)


def _final_error(job: Job, source: Source, fault: TransferFault) -> QtoolError:
    """Return what the user is told when a file is given up."""
    if fault.kind is FaultKind.WRONG and fault.status is None:
        return IntegrityError(
            f"{job.file.path}: {source.endpoint_url} does not send this file: {fault}",
            hint="behind a login page, log in first; else another endpoint: --endpoint URL",
        )
    return NetworkError(
        f"{job.file.path}: {fault}, again and again, from {source.endpoint_url}",
        hint="run the same command again later, it goes on where it stopped; "
        "or another endpoint: --endpoint URL",
    )
