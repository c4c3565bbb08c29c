"""Which endpoint each byte of a file came from, and in which order to suspect them.

Digests of parts are not known, so a wrong digest of the whole does not tell who is to blame.
Trials find out: the file is completed from fewer and fewer endpoints, the least trusted ones left
out first; the digest that is right at last convicts whoever was left out last.
"""

from collections.abc import Iterable, Sequence

from qtool.download.ranges import Range, RangeSet

EARLIER = -1
"""The origin of bytes that an earlier run left: nobody knows any more where they came from."""


class Provenance:
    """Origins of a file's bytes, as numbers of sources. Not thread-safe."""

    def __init__(self, present: Iterable[Range] = ()) -> None:
        self._by_origin: dict[int, RangeSet] = {EARLIER: RangeSet(present)}

    def add(self, start: int, end: int, origin: int) -> None:
        """Note where the bytes of a range came from."""
        self._by_origin.setdefault(origin, RangeSet()).add(start, end)

    def origins(self) -> set[int]:
        """Return whose bytes there are."""
        return {origin for origin, ranges in self._by_origin.items() if ranges.size_bytes}

    def take_foreign(self, trusted: set[int]) -> list[Range]:
        """Forget the bytes that came from others than ``trusted``; return their ranges."""
        foreign = RangeSet()
        for origin in set(self._by_origin) - trusted:
            for start, end in self._by_origin.pop(origin):
                foreign.add(start, end)
        return list(foreign)


def trials(sources: Sequence[int]) -> list[set[int]]:
    """Return the sets of sources to complete a file from, one after the other.

    ``sources`` is in order of trust, the first most trusted; what an earlier run left is doubted
    after all but the first.

    >>> trials([0, 1, 2]) == [{0, 1, -1}, {0, -1}, {0}, {1}, {2}]
    True
    """
    fewer = [{*sources[:count], EARLIER} for count in range(len(sources) - 1, 0, -1)]
    return [*fewer, *({source} for source in sources)]
