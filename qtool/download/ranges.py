"""Sets of byte ranges of a file, half-open: ``[start, end)``."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

Range = tuple[int, int]


class RangeSet:
    """A set of bytes kept as sorted ranges that neither overlap nor touch. Not thread-safe."""

    __slots__ = ("_ends", "_starts", "size_bytes")

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self.size_bytes = 0
        for start, end in ranges:
            self.add(start, end)

    def __iter__(self) -> Iterator[Range]:
        return iter(list(zip(self._starts, self._ends, strict=True)))

    def __len__(self) -> int:
        return len(self._starts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RangeSet) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"RangeSet({list(self)})"

    def add(self, start: int, end: int) -> None:
        """Add the bytes from ``start`` up to, not including, ``end``."""
        if start >= end:
            return
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        if first < last:
            start = min(start, self._starts[first])
            end = max(end, self._ends[last - 1])
        replaced = sum(self._ends[i] - self._starts[i] for i in range(first, last))
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]
        self.size_bytes += end - start - replaced

    def gaps(self, start: int, end: int) -> list[Range]:
        """Return the ranges within ``[start, end)`` that are missing."""
        missing = []
        for known_start, known_end in self:
            if known_end <= start:
                continue
            if known_start >= end:
                break
            if known_start > start:
                missing.append((start, known_start))
            start = known_end
        if start < end:
            missing.append((start, end))
        return missing

    def front(self) -> int:
        """Return up to where the bytes are complete from 0 on."""
        return self._ends[0] if self._starts and self._starts[0] == 0 else 0

    def without(self, ranges: Iterable[Range]) -> "RangeSet":
        """Return the part outside of ``ranges``."""
        others = RangeSet(ranges)
        return RangeSet(gap for start, end in self for gap in others.gaps(start, end))

    def common(self, ranges: Iterable[Range]) -> "RangeSet":
        """Return the part inside of ``ranges``."""
        return self.without(self.without(ranges))

    def clipped(self, end: int) -> "RangeSet":
        """Return the part below ``end``."""
        return RangeSet((start, min(stop, end)) for start, stop in self if start < end)
