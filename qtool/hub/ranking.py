"""Which mirrors answered, and how fast, remembered for some hours in a small file.

    {"version": 1, "saved_at": 1767323045.0, "seconds": {"https://huggingface.co": 0.21}}

It holds addresses and times, nothing else.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

log = logging.getLogger(__name__)

FRESH_S = 6 * 3600.0
_VERSION = 1


class Ranking:
    """The remembered order of mirrors. What cannot be read or written is forgotten."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock

    def seconds(self) -> dict[str, float]:
        """Return how long each mirror took; empty when that is too long ago."""
        try:
            data = json.loads(self._path.read_bytes())
            age_s = self._clock() - float(data["saved_at"])
            seconds = {str(url): float(value) for url, value in data["seconds"].items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
            log.debug("%s: %r", self._path, exc)
            return {}
        is_fresh = 0 <= age_s < FRESH_S and data.get("version") == _VERSION
        return seconds if is_fresh else {}

    def ranked(self, urls: Iterable[str]) -> list[str]:
        """Return those of ``urls`` that are remembered, fastest first."""
        known = self.seconds()
        return sorted((url for url in urls if url in known), key=lambda url: known[url])

    def remember(self, seconds: Mapping[str, float]) -> None:
        """Keep what was measured just now, in place of what was known."""
        rounded = {url: round(value, 4) for url, value in seconds.items()}
        content = {"version": _VERSION, "saved_at": self._clock(), "seconds": rounded}
        fresh = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_text(json.dumps(content), encoding="utf-8")
            fresh.replace(self._path)
        except OSError as exc:
            log.debug("the order of mirrors is not remembered: %s", exc)

    def forget(self) -> None:
        """Measure again the next time."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as exc:
            log.debug("%s stays: %s", self._path, exc)
