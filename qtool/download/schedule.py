"""Who fetches which bytes: segments for connections, files in order, no crawl at the end.

Segments are handed out from the front of the first unfinished file, so that hashing can follow.
Their size is a share of what is left (guided self-scheduling): long requests at first, short ones
towards the end, between half a MiB and 32, and longer where servers are slow to answer. A
connection that finds nothing left takes half of the segment in flight that would take longest, or
the whole rest of one that has gone quiet.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import inf

from qtool.download.asking import AskingCost
from qtool.download.ranges import Range

MIN_SEGMENT_BYTES = 512 * 1024
MAX_SEGMENT_BYTES = 32 * 1024 * 1024
# Below this a split costs more than it saves.
MIN_SPLIT_BYTES = 128 * 1024
MIN_SPLIT_S = 0.05
QUIET_S = 1.0


@dataclass(slots=True, eq=False)
class Task:
    """A file's part in the schedule: the ranges nobody fetches yet, and those in flight.

    ``is_small``: one request brings it. Small files come before the others.
    ``is_whole`` means that the server sends the file only as a whole: one segment at a time, over
    all gaps.
    """

    size_bytes: int
    gaps: list[Range]
    is_small: bool = False
    is_whole: bool = False
    is_dropped: bool = False
    in_flight: list["Segment"] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Segment:
    """A range that one connection fetches: ``position`` moves up to ``end``; ``end`` may sink.

    ``answered_s`` is when the server began to answer, None before.
    """

    task: Task
    position: int
    end: int
    last_byte_s: float
    started_at: int
    started_s: float
    patience_s: float = QUIET_S
    answered_s: float | None = None

    @property
    def left_bytes(self) -> int:
        """Return how much is still to come."""
        return self.end - self.position

    def left_s(self, now: float, cost: AskingCost) -> float:
        """Return how long the rest takes if it goes on like this.

        Without a byte yet, as long as with other connections; infinite if that is not known.
        """
        received = self.position - self.started_at
        if received:
            return self.left_bytes * (now - self.started_s) / received
        return self.left_bytes / cost.bytes_per_s if cost.bytes_per_s else inf

    def is_worth_splitting(self, now: float, cost: AskingCost) -> bool:
        """Return whether another connection would bring the end of the rest any sooner.

        It has to wait for its first byte. What the server has sent already of the second half is
        lost by a split.
        """
        is_old_enough = now - self.started_s >= MIN_SPLIT_S
        is_large = self.left_bytes >= 2 * MIN_SPLIT_BYTES
        return (
            is_large
            and is_old_enough
            and self.left_s(now, cost) >= max(MIN_SPLIT_S, 2 * cost.wait_s)
        )


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
        self._cost = AskingCost()
        self._unassigned_bytes = sum(end - start for t in self._waiting for start, end in t.gaps)

    @property
    def is_finished(self) -> bool:
        """Return whether every byte has been fetched, or its file given up."""
        with self._lock:
            return not self._waiting and not self._open

    @property
    def has_small(self) -> bool:
        """Return whether small files are left to fetch."""
        with self._lock:
            return any(t.is_small for t in self._open) or (
                bool(self._waiting) and self._waiting[0].is_small
            )

    def begun(self) -> list[Task]:
        """Return the files of which something is being fetched now."""
        with self._lock:
            return [task for task in self._open if task.in_flight]

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

    def note_answered(self, segment: Segment) -> None:
        """Say that the server begins to send the segment."""
        with self._lock:
            segment.answered_s = self._clock()
            if not segment.task.is_small:
                self._cost.note_answer(segment.answered_s - segment.started_s)

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
            if segment.answered_s is not None:
                received = segment.position - segment.started_at
                self._cost.note_body(received, self._clock() - segment.answered_s)
            if segment.position < segment.end and not task.is_dropped:
                task.gaps.insert(0, (segment.position, segment.end))
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

    def reopen(self, task: Task, ranges: Iterable[Range]) -> None:
        """Hand ranges of a file out again: what came there is wrong, or may be."""
        with self._lock:
            for start, end in ranges:
                task.gaps.append((start, end))
                self._unassigned_bytes += end - start
            if task not in self._open:
                self._open.append(task)

    def make_whole(self, task: Task) -> None:
        """Note that the server ignores ranges: hand the file out as one segment from now on."""
        with self._lock:
            task.is_whole = True

    def _next_task(self, is_for_small: bool) -> Task | None:
        for task in self._open:
            is_free = task.gaps and not (task.is_whole and task.in_flight)
            if is_free and (task.is_small or not is_for_small):
                return task
        # More than that are open when a file that was complete has to be fetched again.
        is_full = self._max_files is not None and len(self._open) >= self._max_files
        if not self._waiting or is_full:
            return None
        if is_for_small and not self._waiting[0].is_small:
            return None
        self._open.append(self._waiting.popleft())
        return self._open[-1]

    def _carve(self, task: Task, n_connections: int) -> Segment:
        if task.is_whole:
            return self._carve_whole(task)
        share = self._unassigned_bytes // (2 * max(1, n_connections))
        least = max(self._cost.least_bytes, MIN_SEGMENT_BYTES)
        size = min(max(share, least), MAX_SEGMENT_BYTES)
        start, end = task.gaps.pop(0)
        if end - start >= size + MIN_SEGMENT_BYTES // 2:
            task.gaps.insert(0, (start + size, end))
            end = start + size
        return self._start(task, start, end)

    def _carve_whole(self, task: Task) -> Segment:
        """Return one segment over all gaps; what lies between them comes along for nothing."""
        start = min(start for start, _ in task.gaps)
        end = max(end for _, end in task.gaps)
        self._unassigned_bytes += (end - start) - sum(b - a for a, b in task.gaps)
        task.gaps.clear()
        return self._start(task, start, end)

    def _start(self, task: Task, start: int, end: int) -> Segment:
        self._unassigned_bytes -= end - start
        now = self._clock()
        segment = Segment(task, start, end, now, start, now)
        task.in_flight.append(segment)
        return segment

    def _split(self) -> Segment | None:
        """Take over the rest of a quiet segment, else half of the one that would take longest."""
        now, cost = self._clock(), self._cost
        busy = [s for t in self._open if not t.is_whole for s in t.in_flight if s.left_bytes]
        quiet = [s for s in busy if now - s.last_byte_s > max(s.patience_s, 2 * cost.wait_s)]
        if quiet:
            # Whoever takes over gets twice the time, lest two connections to a server that is slow
            # to answer take it from one another for ever.
            silent = max(quiet, key=lambda s: s.left_bytes)
            return self._take_over(silent, silent.position, now, 2 * silent.patience_s)
        worth_it = [s for s in busy if s.is_worth_splitting(now, cost)]
        if not worth_it:
            return None
        slowest = max(worth_it, key=lambda s: s.left_s(now, cost))
        return self._take_over(slowest, slowest.position + slowest.left_bytes // 2, now, QUIET_S)

    def _take_over(self, old: Segment, middle: int, now: float, patience_s: float) -> Segment:
        taken = Segment(old.task, middle, old.end, now, middle, now, patience_s)
        old.end = middle
        old.task.in_flight.append(taken)
        return taken

    def _close_if_done(self, task: Task) -> None:
        if not task.gaps and not task.in_flight and task in self._open:
            self._open.remove(task)
