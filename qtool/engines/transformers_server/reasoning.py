"""Reasoning told apart from the reply, as llama.cpp's server does (``reasoning_content``)."""

from __future__ import annotations

from dataclasses import dataclass

from .stop_strings import StopScanner

OPENING = "<think>"
CLOSING = "</think>"


@dataclass(frozen=True)
class Piece:
    """A piece of the reply, or of the reasoning before it."""

    text: str
    is_reasoning: bool = False


class ReasoningSplitter:
    """Splits text at the tags. ``is_open``: the prompt ends with the opening one already."""

    def __init__(self, is_open: bool) -> None:
        self._is_open = is_open
        self._is_decided = is_open
        self._head = ""
        self._closing = StopScanner([CLOSING])
        self._trims = is_open

    def push(self, text: str) -> list[Piece]:
        """Return the pieces that ``text`` makes."""
        if not self._is_decided:
            text = self._decide(text)
        if not self._is_open:
            return self._reply(text)
        thought = self._closing.push(text)
        pieces = self._reasoning(thought)
        if self._closing.found is None:
            return pieces
        self._is_open, self._trims = False, True
        rest = self._closing.rest
        return pieces + self._reply(rest)

    def flush(self) -> list[Piece]:
        """Return what is held back."""
        if self._is_open:
            return self._reasoning(self._closing.flush())
        head, self._head = self._head, ""
        return self._reply(head)

    def _decide(self, text: str) -> str:
        """Wait for the first characters: they are the opening tag, or there is no reasoning."""
        self._head += text
        begun = self._head.lstrip()
        if begun.startswith(OPENING):
            self._is_open = self._is_decided = self._trims = True
            text, self._head = begun[len(OPENING) :], ""
            return text
        if OPENING.startswith(begun):
            return ""
        self._is_decided = True
        text, self._head = self._head, ""
        return text

    def _reasoning(self, text: str) -> list[Piece]:
        text = self._trimmed(text)
        return [Piece(text, is_reasoning=True)] if text else []

    def _reply(self, text: str) -> list[Piece]:
        text = self._trimmed(text)
        return [Piece(text)] if text else []

    def _trimmed(self, text: str) -> str:
        """Drop the line ends after a tag."""
        if self._trims:
            text = text.lstrip("\n")
            self._trims = not text
        return text
