"""The conversations whose KV caches are kept: a few, the latest ones, within a bound of memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .kv_cache import cache_bytes, copy_cache, crop_cache
from .network import Network
from .prefix import plan_reuse


@dataclass
class Slot:
    """One conversation: ``ids`` are the tokens that ``cache`` holds, in order."""

    cache: Any = None
    ids: list[int] = field(default_factory=list)
    last_used: int = 0

    def clear(self) -> None:
        """Forget the conversation and free its memory."""
        self.cache, self.ids = None, []

    @property
    def size_bytes(self) -> int:
        """What the cache takes."""
        return cache_bytes(self.cache) if self.ids else 0


class KvSlots:
    """Finds for each prompt the slot that has most of it computed already."""

    def __init__(self, network: Network, n_slots: int, budget_bytes: int) -> None:
        self._network = network
        self._slots = [Slot() for _ in range(max(1, n_slots))]
        self._budget_bytes = budget_bytes
        self._clock = 0

    def take(self, prompt: Sequence[int], *, reuses: bool = True) -> Slot:
        """Return a slot whose ids are a prefix of ``prompt``, shorter than it; none, unless it
        ``reuses`` what is kept."""
        self._clock += 1
        if not self._network.keeps_cache:
            self.clear()
            slot = self._slots[0]
        elif reuses:
            slot = self._reuse(prompt)
        else:
            slot = min(self._slots, key=lambda one: (bool(one.ids), one.last_used))
            slot.clear()
        if slot.cache is None:
            slot.cache = self._network.new_cache()
        slot.last_used = self._clock
        self._make_room(slot, len(prompt))
        return slot

    def clear(self) -> None:
        """Forget all conversations."""
        for slot in self._slots:
            slot.clear()

    def total_bytes(self) -> int:
        """Return what all caches take together."""
        return sum(slot.size_bytes for slot in self._slots) if self._network.keeps_cache else 0

    def _reuse(self, prompt: Sequence[int]) -> Slot:
        slots = self._slots
        plan = plan_reuse(
            [slot.ids for slot in slots], [slot.last_used for slot in slots], list(prompt)
        )
        slot = slots[plan.slot]
        if plan.source is None:
            slot.clear()
        elif plan.source != plan.slot:
            slot.clear()
            source = slots[plan.source]
            slot.cache, slot.ids = copy_cache(source.cache, plan.n_kept), source.ids[: plan.n_kept]
        else:
            crop_cache(slot.cache, plan.n_kept)
            slot.ids = slot.ids[: plan.n_kept]
        if slot.ids and int(slot.cache.get_seq_length()) != len(slot.ids):
            slot.clear()  # never wrong, rather slow
        return slot

    def _make_room(self, slot: Slot, n_tokens: int) -> None:
        """Forget the conversations used the longest ago until ``slot`` may grow to the prompt."""
        others = sorted((one for one in self._slots if one is not slot), key=lambda s: s.last_used)
        per_token = max((s.size_bytes / len(s.ids) for s in self._slots if s.ids), default=0.0)
        while others and sum(s.size_bytes for s in others) + per_token * n_tokens > (
            self._budget_bytes
        ):
            others.pop(0).clear()
