"""Partial files hashed from the front while the rest arrives, in one thread of its own.

Where it is known what right content begins with (``prefixes``), as of a file under repair, a wrong
block is noticed where it stands and brought again, and hashing goes on from its start.
"""

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from qtool.download.finish import Finisher
from qtool.download.job import Job
from qtool.download.prefixes import BLOCK_BYTES, NotingDigest, Prefixes
from qtool.download.ranges import Range
from qtool.download.sinks import PartialFile
from qtool.errors import QtoolError

_POLL_S = 0.01


class FrontHasher:
    """Works until every file has an outcome."""

    def __init__(self, jobs: Iterable[Job], finisher: Finisher, stop: threading.Event) -> None:
        self._fronts = [
            _Front(job, job.sink, NotingDigest(job.file), finisher.known_prefixes(job.file))
            for job in jobs
            if isinstance(job.sink, PartialFile)
        ]
        self._finisher = finisher
        self._stop = stop
        self._buffer = memoryview(bytearray(BLOCK_BYTES))

    def run(self) -> None:
        """Work until every file has an outcome, or ``stop`` is set."""
        while self._fronts and not self._stop.is_set():
            self._fronts = [front for front in self._fronts if front.job.outcome is None]
            advances = [self._advance(front) for front in self._fronts]
            if not any(advances):
                time.sleep(_POLL_S)

    def _advance(self, front: "_Front") -> bool:
        """Hash what is contiguous; return whether there was anything to do."""
        try:
            if front.is_stuck:
                return self._mend(front)
            has_hashed = front.hash(self._buffer, self._stop)
            if front.is_whole and not self._finish(front):
                front.begin_anew()
        except QtoolError as exc:
            self._finisher.fail(front.job, exc)
            return True
        return has_hashed

    def _finish(self, front: "_Front") -> bool:
        bad_ranges = [] if front.hopeless is None else [front.hopeless]
        return self._finisher.finish_partial(front.job, front.sink, front.digest, bad_ranges)

    def _mend(self, front: "_Front") -> bool:
        """Have a wrong block brought again, when nothing is written to the file any more."""
        if not front.job.is_complete:
            return False
        self._finisher.fetch_again(front.job, front.take_stretch())
        return True


@dataclass(slots=True)
class _Front:
    """How far a file has been hashed. ``right`` is what its beginnings should be, where known.

    ``is_stuck`` at a wrong block, until it is brought again. ``hopeless`` is one that was as wrong
    when it came again: from there on only the digest of the whole is compared.
    """

    job: Job
    sink: PartialFile
    digest: NotingDigest
    right: Prefixes | None
    is_stuck: bool = False
    hopeless: Range | None = None
    _block_start: NotingDigest | None = None
    _mended: set[int] = field(default_factory=set)
    _stretch: int = 1

    @property
    def is_whole(self) -> bool:
        """Return whether the whole file has been hashed."""
        return not self.is_stuck and self.digest.position == self.job.file.size_bytes

    def hash(self, buffer: memoryview, stop: threading.Event) -> bool:
        """Hash what is contiguous, up to a wrong block; return whether there was anything."""
        begin, front = self.digest.position, self.sink.front()
        while self.digest.position < front and not self.is_stuck and not stop.is_set():
            if not self._hash_in_block(buffer, front):
                break
        return self.digest.position > begin or self.is_stuck

    def begin_anew(self) -> None:
        """Hash the file from its first byte again."""
        self.digest, self.hopeless = NotingDigest(self.job.file), None

    def take_stretch(self) -> list[Range]:
        """Return what to bring again, from the wrong block on.

        Damage is often of one piece: next to a block that was just mended, twice as many are
        brought at once, so that a long piece takes a few rounds and at most double its bytes.
        """
        start = self.digest.position
        is_next = start - BLOCK_BYTES in self._mended
        self._stretch = 2 * self._stretch if is_next else 1
        end = min(start + self._stretch * BLOCK_BYTES, self.job.file.size_bytes)
        self._mended.update(range(start, end, BLOCK_BYTES))
        self.is_stuck = False
        return [(start, end)]

    def _hash_in_block(self, buffer: memoryview, front: int) -> int:
        """Hash up to the end of a block at most; return how many bytes there were."""
        digest, start = self.digest, self.digest.position
        if self.right is not None and start % BLOCK_BYTES == 0:
            self._block_start = digest.copy()
        room = min(front - start, digest.left_of_block())
        count = self.sink.read_into(buffer[:room], start)
        digest.update(buffer[:count])
        is_at_end = (
            digest.position % BLOCK_BYTES == 0 or digest.position == self.job.file.size_bytes
        )
        if is_at_end and self.right is not None and self.hopeless is None:
            self._compare(self.right)
        return count

    def _compare(self, right: Prefixes) -> None:
        """Go back to the start of the block that has just ended if it is wrong."""
        if self.digest.agrees_with(right) or self._block_start is None:
            return
        block = self._block_start.position, self.digest.position
        if block[0] in self._mended:
            self.hopeless = block
        else:
            self.is_stuck, self.digest = True, self._block_start
