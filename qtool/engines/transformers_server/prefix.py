"""Which kept conversation a prompt goes on with, and how much of it stays: pure, over token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Reuse:
    """``slot`` is to hold the prompt. Its first ``n_kept`` tokens are those of ``source``.

    ``source`` is the slot itself (cut there), another one (copied up to there, and left as it
    is), or ``None`` for a start from nothing.
    """

    slot: int
    source: int | None
    n_kept: int


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens the two begin with in common."""
    length = min(len(one), len(other))
    if one[:length] == other[:length]:
        return length
    low, high = 0, length  # they agree up to low, and differ before high
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low


def plan_reuse(
    slots: Sequence[Sequence[int]], last_used: Sequence[int], prompt: Sequence[int]
) -> Reuse:
    """Choose the slot for ``prompt``; ``slots`` are the token ids that each one holds.

    The slot with the longest common prefix is cut and goes on when most of it stays, as after a
    new turn, an edit or a regeneration. When it would lose more than it keeps, it is another
    conversation with, say, the same system prompt: then the common part is copied to an empty
    slot, or to the one that was used the longest ago. The last token of the prompt is never
    taken from a slot, for what follows it must be computed.
    """
    limit = len(prompt) - 1
    kept = [min(common_prefix(ids, prompt), limit) for ids in slots]
    best = max(range(len(slots)), key=lambda i: (kept[i], -len(slots[i]), last_used[i]))
    n_kept = kept[best]
    if n_kept > 0 and len(slots[best]) - n_kept <= n_kept:
        return Reuse(best, best, n_kept)
    target = min(range(len(slots)), key=lambda i: (len(slots[i]) > 0, last_used[i]))
    if n_kept <= 0:
        return Reuse(target, None, 0)
    return Reuse(target, best, n_kept)
