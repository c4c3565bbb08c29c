"""A text of every kind that tokenizers treat differently; the same at every call."""

import random
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path

SPACES = (" ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "'s", "'LL", "12345", "x")
STANZA = 4000
"""Characters of one kind in a row."""


def make_corpus(n_bytes: int, special: Sequence[str] = ()) -> str:
    """Return about ``n_bytes`` of English, Chinese, code, emoji, control characters, letters of
    all scripts and ``special`` tokens, mixed."""
    rng = random.Random(20261122)
    code = "".join(_sources(n_bytes // 3))
    kinds: list[Callable[[], str]] = [
        lambda: _cut(rng, code),
        lambda: _words(rng, code),
        lambda: _drawn(rng, [(0x4E00, 0x9FFF), (0x3000, 0x303F), (0xFF00, 0xFFEF)], 30),
        lambda: _drawn(rng, [(0x1F300, 0x1FAFF), (0x2600, 0x27BF), (0x200D, 0x200D)], 8),
        lambda: _drawn(rng, [(0x00, 0x1F), (0x7F, 0x9F), (0x20, 0x7E)], 12),
        lambda: _drawn(rng, [(0x20, 0x24F), (0x370, 0x5FF), (0x900, 0xDFF), (0xAC00, 0xD7A3)], 20),
        lambda: "".join(
            rng.choice(
                [" ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "'s", "'LL", "12345", "x"]
            )
            for _ in range(STANZA // 3)
        ),
        lambda: " ".join(rng.choice([*special, "word", "字"]) for _ in range(STANZA // 10)),
    ]
    pieces: list[str] = []
    size = 0
    while size < n_bytes:
        pieces.append(kinds[len(pieces) % len(kinds)]())
        size += len(pieces[-1].encode())
    return "".join(pieces)


def _sources(n_bytes: int) -> list[str]:
    """Python's own library: code, English in its comments."""
    texts: list[str] = []
    size = 0
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        texts.append(path.read_text(encoding="utf-8"))
        size += len(texts[-1])
        if size > n_bytes:
            break
    return texts


def _cut(rng: random.Random, text: str) -> str:
    start = rng.randrange(max(len(text) - STANZA, 1))
    return text[start : start + STANZA]


def _words(rng: random.Random, text: str) -> str:
    """Plain prose: the letters of a cut, one space between words."""
    return " ".join(word for word in _cut(rng, text).split() if word.isalpha()) + ". "


def _drawn(rng: random.Random, ranges: Sequence[tuple[int, int]], run: int) -> str:
    """Characters from ``ranges``, a run of each, with spaces and lines in between."""
    text = []
    for _ in range(STANZA // run):
        low, high = rng.choice(ranges)
        text += [chr(rng.randint(low, high)) for _ in range(rng.randint(1, run))]
        text.append(rng.choice(["", " ", "\n", ", "]))
    return "".join(text)
