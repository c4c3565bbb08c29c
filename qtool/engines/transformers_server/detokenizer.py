"""From tokens to text, one token at a time, in whole characters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

REPLACEMENT = "\ufffd"
"""What a decoder writes for bytes that are no character, or not yet."""

MAX_HELD_TOKENS = 8
"""A character has at most four bytes, so more tokens than that are no character to wait for."""


class Detokenizer:
    """Turns a growing list of token ids into pieces of text.

    A token may be part of a character, and how it is written may depend on the one before it
    (sentencepiece drops a leading space at the start). So a window of tokens is decoded twice,
    with and without the new ones, and the difference is the new text. ``context`` are tokens that
    go before the first one and are not written themselves.
    """

    def __init__(self, decode: Callable[[list[int]], str], context: Sequence[int] = ()) -> None:
        self._decode = decode
        self._ids = list(context)
        self._written = len(self._ids)

    def push(self, token: int) -> str:
        """Return the text that ``token`` completes, which may be none."""
        self._ids.append(token)
        is_waiting = len(self._ids) - self._written < MAX_HELD_TOKENS
        return self._advance(is_waiting)

    def flush(self) -> str:
        """Return what is left, although it may end within a character."""
        return self._advance(is_waiting=False)

    def _advance(self, is_waiting: bool) -> str:
        before = self._decode(self._ids[: self._written])
        after = self._decode(self._ids)
        if is_waiting and (after.endswith(REPLACEMENT) or len(after) <= len(before)):
            return ""
        self._ids = self._ids[self._written :]
        self._written = len(self._ids)
        return after[len(before) :]
