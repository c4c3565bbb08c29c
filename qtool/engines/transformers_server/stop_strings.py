"""Stop strings in a stream: found across pieces, and not one character of them let out."""

from __future__ import annotations

from collections.abc import Sequence


class StopScanner:
    """Passes text on until the first of ``stops`` begins.

    What could still become a stop string is held back, and nothing more than that. After it was
    ``found``, ``rest`` is what came behind it in the same piece.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.found: str | None = None
        self.rest = ""

    def push(self, text: str) -> str:
        """Return what of ``text``, and of what was held back, can be shown."""
        if self.found is not None:
            return ""
        text = self._held + text
        place, stop = self._first(text)
        if stop is not None:
            self.found, self._held = stop, ""
            self.rest = text[place + len(stop) :]
            return text[:place]
        n_held = max((_overlap(text, stop) for stop in self._stops), default=0)
        shown = len(text) - n_held
        self._held = text[shown:]
        return text[:shown]

    def flush(self) -> str:
        """Return what is held back: the text ends here, so it became no stop string."""
        held, self._held = self._held, ""
        return held

    def _first(self, text: str) -> tuple[int, str | None]:
        """Return where the earliest stop string begins; of several there, the longest."""
        hits = [(text.find(stop), -len(stop), stop) for stop in self._stops if stop in text]
        place, _, stop = min(hits, default=(-1, 0, None))
        return place, stop


def _overlap(text: str, stop: str) -> int:
    """Return how many characters at the end of ``text`` begin ``stop``."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
