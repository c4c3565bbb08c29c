"""Who fetches which bytes: segments for connections, files in order, no crawl at the end.

Segments are handed out from the front of the first unfinished file, so that hashing can follow.
Their size is a share of what is left (guided self-scheduling): long requests at first, short ones
towards the end, between 1 and 32 MiB. A connection that finds nothing left takes half of the
largest segment in flight, or the whole rest of one that has gone quiet.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from qtool.download.ranges import Range

MIN_SEGMENT_BYTES = 1024 * 1024
MAX_SEGMENT_BYTES = 32 * 1024 * 1024
# Below this a split costs more than it saves.
MIN_SPLIT_BYTES = 256 * 1024
QUIET_S = 1.0


@dataclass(slots=True, eq=False)
class Task:
    """A file's part in the schedule: the ranges nobody fetches yet, and those in flight.

    ``is_small``: one request brings it. Small files come before the others.
    ``is_whole`` means that the server sends the file only as a whole: one segment at a time, up to
    the end of the file.
    """

    size_bytes: int
    gaps: deque[Range]
    is_small: bool = False
    is_whole: bool = False
    is_dropped: bool = False
    in_flight: list["Segment"] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Segment:
    """A range that one connection fetches: ``position`` moves up to ``end``; ``end`` may sink."""

    task: Task
    position: int
    end: int
    last_byte_s: float
    patience_s: float = QUIET_S


class Schedule:
    """The work of all connections. Thread-safe; every method returns at once."""

    def __init__(
        self,
        tasks: Iterable[Task],
        *,
        max_files: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._max_files = max_files
        self._waiting = deque(task for task in tasks if task.gaps)
        self._open: list[Task] = []
        self._unassigned_bytes = sum(end - start for t in self._waiting for start, end in t.gaps)

    @property
    def is_finished(self) -> bool:
        """Return whether every byte has been fetched, or its file given up."""
        with self._lock:
            return not self._waiting and not self._open

    def take(self, n_connections: int, *, is_for_small: bool = False) -> Segment | None:
        """Return a segment to fetch, None when there is nothing to do at this moment.

        A connection that ``is_for_small`` gets files of one request only: many of them at once
        hide the time that each answer takes, where more connections would not make a large file
        faster.
        """
        with self._lock:
            task = self._next_task(is_for_small)
            if task is not None:
                return self._carve(task, n_connections)
            return None if is_for_small else self._split()

    def wanted(self, segment: Segment) -> int:
        """Return how many bytes of the segment are still to be received."""
        return segment.end - segment.position

    def claim(self, segment: Segment, count: int) -> Range:
        """Say that ``count`` bytes have arrived; return the range of the file they belong to.

        The range is shorter than ``count`` when another connection took the segment's end over.
        """
        with self._lock:
            start = segment.position
            segment.position = min(start + count, max(segment.end, start))
            segment.last_byte_s = self._clock()
            return start, segment.position

    def release(self, segment: Segment) -> None:
        """End a segment; what is missing of it is handed out again, first."""
        with self._lock:
            task = segment.task
            task.in_flight.remove(segment)
            if segment.position < segment.end and not task.is_dropped:
                task.gaps.appendleft((segment.position, segment.end))
                self._unassigned_bytes += segment.end - segment.position
            self._close_if_done(task)

    def drop(self, task: Task) -> None:
        """Give a file up: nothing of it is handed out, its connections find nothing wanted."""
        with self._lock:
            task.is_dropped = True
            self._unassigned_bytes -= sum(end - start for start, end in task.gaps)
            task.gaps.clear()
            for segment in task.in_flight:
                segment.end = segment.position
            if task in self._waiting:
                self._waiting.remove(task)
            self._close_if_done(task)

    def make_whole(self, task: Task) -> None:
        """Note that the server ignores ranges: hand the file out as one segment from now on."""
        with self._lock:
            task.is_whole = True

    def _next_task(self, is_for_small: bool) -> Task | None:
        for task in self._open:
            is_free = task.gaps and not (task.is_whole and task.in_flight)
            if is_free and (task.is_small or not is_for_small):
                return task
        if not self._waiting or len(self._open) == self._max_files:
            return None
        if is_for_small and not self._waiting[0].is_small:
            return None
        self._open.append(self._waiting.popleft())
        return self._open[-1]

    def _carve(self, task: Task, n_connections: int) -> Segment:
        if task.is_whole:
            return self._carve_whole(task)
        share = self._unassigned_bytes // (2 * max(1, n_connections))
        size = min(max(share, MIN_SEGMENT_BYTES), MAX_SEGMENT_BYTES)
        start, end = task.gaps.popleft()
        if end - start >= size + MIN_SEGMENT_BYTES // 2:
            task.gaps.appendleft((start + size, end))
            end = start + size
        return self._start(task, start, end)

    def _carve_whole(self, task: Task) -> Segment:
        start = min(start for start, _ in task.gaps)
        self._unassigned_bytes -= sum(end - start for start, end in task.gaps)
        task.gaps.clear()
        self._unassigned_bytes += task.size_bytes - start
        return self._start(task, start, task.size_bytes)

    def _start(self, task: Task, start: int, end: int) -> Segment:
        self._unassigned_bytes -= end - start
        segment = Segment(task, start, end, self._clock())
        task.in_flight.append(segment)
        return segment

    def _split(self) -> Segment | None:
        """Take over the rest of a quiet segment, else half of the largest."""
        now = self._clock()
        candidates = [s for t in self._open if not t.is_whole for s in t.in_flight]
        candidates = [s for s in candidates if s.position < s.end]
        if not candidates:
            return None
        quiet = [s for s in candidates if now - s.last_byte_s > s.patience_s]
        largest = max(quiet or candidates, key=lambda s: s.end - s.position)
        left = largest.end - largest.position
        if quiet:
            middle = largest.position
        elif left >= 2 * MIN_SPLIT_BYTES:
            middle = largest.position + left // 2
        else:
            return None
        # Whoever takes over gets twice the time, lest two connections to a server that is slow to
        # answer take it from one another for ever.
        patience_s = 2 * largest.patience_s if quiet else QUIET_S
        taken = Segment(largest.task, middle, largest.end, now, patience_s)
        largest.end = middle
        largest.task.in_flight.append(taken)
        return taken

    def _close_if_done(self, task: Task) -> None:
        if not task.gaps and not task.in_flight and task in self._open:
            self._open.remove(task)
