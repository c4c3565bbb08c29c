"""A file on its way: what is known of it, shared by the connections that fetch it."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from qtool.download.events import FileResult, FileStatus
from qtool.download.mirrors import least_loaded
from qtool.download.provenance import Provenance, trials
from qtool.download.ranges import Range
from qtool.download.schedule import Task
from qtool.download.sinks import MemorySink, PartialFile
from qtool.download.source import Source
from qtool.errors import QtoolError
from qtool.hub.repo import RemoteFile


def _nothing_more() -> None:
    """Return at once: no further sources are being looked for."""


@dataclass(slots=True, eq=False)
class Job:
    """One file to fetch, from one source or several that hold the same content.

    ``sources`` is in order of trust and may grow at its end. ``await_sources`` returns when no
    more of them will come. ``outcome`` is set once, at the end.
    """

    file: RemoteFile
    sink: MemorySink | PartialFile
    task: Task
    sources: list[Source]
    is_resumed: bool = False
    await_sources: Callable[[], None] = _nothing_more
    outcome: FileResult | None = None
    provenance: Provenance | None = None
    _trials: list[set[int]] | None = None
    _trusted: set[int] | None = None
    _suspects: frozenset[int] = frozenset()
    _proven: frozenset[int] = frozenset()
    _is_finishing: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_complete(self) -> bool:
        """Return whether all bytes have arrived."""
        return self.sink.size_done() == self.file.size_bytes

    def take_source(self) -> Source | None:
        """Return the source for one more connection, counted in; call ``leave`` of its mirror.

        None when all sources have as many connections as they bear.
        """
        with self._lock:
            source = self._best(self._usable())
            if source is not None:
                source.mirror.enter()
            return source

    def has_other(self, source: Source) -> bool:
        """Return whether another source can be asked right now."""
        with self._lock:
            return any(one is not source and not one.is_waiting for one in self._usable())

    def add_source(self, source: Source) -> None:
        """Take one more source of the same content."""
        with self._lock:
            self.sources.append(source)

    def give_up(self, source: Source) -> bool:
        """Ask ``source`` no more for this file; return False when it is the last."""
        with self._lock:
            others = [one for one in self._usable() if one is not source]
        if not others:
            self.await_sources()
        with self._lock:
            if not any(one is not source for one in self._usable()):
                return False
            source.is_given_up = True
            return True

    def note_written(self, start: int, end: int, source: Source) -> None:
        """Note where the bytes of a range came from."""
        with self._lock:
            if self.provenance is None:
                self.provenance = Provenance()
            self.provenance.add(start, end, self.sources.index(source))

    def next_trial(self) -> list[Range] | None:
        """Return what to fetch again because the digest is wrong, None when all has been tried.

        From now on only the sources that are trusted in this trial are asked.
        """
        with self._lock:
            is_alone = len(self._usable()) < 2
        if is_alone:
            self.await_sources()
        with self._lock:
            provenance = self.provenance or Provenance()
            origins = provenance.origins()
            if len(origins) == 1:
                self._proven |= origins
            usable = [i for i, source in enumerate(self.sources) if source.is_usable]
            if len(usable) < 2 and self._trials is None:
                return None
            if self._trials is None:
                self._trials = trials(usable)
            while self._trials:
                trusted = self._trials.pop(0)
                if not trusted & set(usable):
                    continue
                if ranges := provenance.take_foreign(trusted):
                    self._trusted, self._suspects = trusted, frozenset(origins - trusted)
                    return ranges
            return None

    def convicted(self) -> list[Source]:
        """Return the sources whose bytes were wrong, now that the digest is right without them."""
        with self._lock:
            return [self.sources[i] for i in sorted(self._suspects | self._proven) if i >= 0]

    def begin_finish(self) -> bool:
        """Return True to the one caller that may finish the file."""
        with self._lock:
            if self._is_finishing or self.outcome is not None or not self.is_complete:
                return False
            self._is_finishing = True
            return True

    def reopen(self) -> None:
        """Let the file be finished once more, after a trial."""
        with self._lock:
            self._is_finishing = False

    def settle(self, status: FileStatus, error: QtoolError | None = None) -> FileResult | None:
        """Set the outcome and return it; None when it was set before."""
        with self._lock:
            if self.outcome is not None:
                return None
            self.outcome = FileResult.of(self.file, status, error)
            self.provenance = None
            return self.outcome

    def _usable(self) -> list[Source]:
        """Return the sources that may be asked; the last one left stays, whatever it did."""
        allowed = [
            source
            for i, source in enumerate(self.sources)
            if self._trusted is None or i in self._trusted
        ]
        return [source for source in allowed if source.is_usable] or allowed[:1]

    def _best(self, sources: Sequence[Source]) -> Source | None:
        ready = [source for source in sources if not source.is_waiting]
        free = [
            source
            for source in ready or sources
            if source.mirror.n_active < source.mirror.limit.allowed()
        ]
        if not free:
            return None
        mirror = least_loaded(source.mirror for source in free)
        return next(source for source in free if source.mirror is mirror)
