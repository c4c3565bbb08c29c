"""Reasoning told apart from the reply where the server does not do it.

Ours do, and send it as ``reasoning_content``. Others pass ``<think>`` on as text; where a template
opened it already, only ``</think>`` comes, and what was shown until then was reasoning.
"""

from collections.abc import Iterable, Iterator

from qtool.chat.stream import Delta, ReplyEnd

OPENING = "<think>"
CLOSING = "</think>"


class AllWasReasoning:
    """Everything so far was reasoning, though it came as the reply."""


Piece = Delta | AllWasReasoning | ReplyEnd


def split_reasoning(pieces: Iterable[Delta | ReplyEnd]) -> Iterator[Piece]:
    """Yield ``pieces`` with the tags taken out and what is between them marked."""
    splitter = _Splitter()
    for piece in pieces:
        if isinstance(piece, ReplyEnd):
            yield from splitter.flush()
            yield piece
        elif piece.is_reasoning:
            splitter.trust_server()
            yield piece
        else:
            yield from splitter.push(piece.text)


class _Splitter:
    """Holds back what may become a tag: at the beginning, within reasoning, on a line alone."""

    def __init__(self) -> None:
        self._held = ""
        self._step = self._begin
        self._trims = False

    def trust_server(self) -> None:
        """Pass everything on: the server marks reasoning itself."""
        self._step = self._pass

    def push(self, text: str) -> Iterator[Piece]:
        """Yield what is clear now that ``text`` has come."""
        self._held += text
        yield from self._run(is_end=False)

    def flush(self) -> Iterator[Piece]:
        """Yield what was held back at the end."""
        yield from self._run(is_end=True)

    def _run(self, *, is_end: bool) -> Iterator[Piece]:
        while self._held:
            held, step = self._held, self._step
            yield from step(is_end)
            if self._held == held and self._step == step:
                return

    def _take(self, count: int, *, is_reasoning: bool = False) -> Iterator[Piece]:
        taken, self._held = self._held[:count], self._held[count:]
        if self._trims:
            taken = taken.lstrip("\n")
            self._trims = not taken
        if taken:
            yield Delta(taken, is_reasoning)

    def _begin(self, is_end: bool) -> Iterator[Piece]:
        text = self._held.lstrip()
        if text.startswith(OPENING):
            self._held, self._trims = text[len(OPENING) :], True
            self._step = self._think
        elif is_end or not OPENING.startswith(text):
            self._step = self._line
        yield from ()

    def _think(self, is_end: bool) -> Iterator[Piece]:
        at = self._held.find(CLOSING)
        if at >= 0:
            yield from self._take(at, is_reasoning=True)
            self._held, self._trims = self._held[len(CLOSING) :], True
            self._step = self._pass
        else:
            safe = len(self._held) - (0 if is_end else _overlap(self._held, CLOSING))
            yield from self._take(safe, is_reasoning=True)

    def _line(self, is_end: bool) -> Iterator[Piece]:
        """Look at the beginning of a line of the reply."""
        if self._held.startswith(f"{CLOSING}\n") or (is_end and self._held == CLOSING):
            self._held, self._trims = self._held[len(CLOSING) :], True
            self._step = self._pass
            yield AllWasReasoning()
        elif is_end or not f"{CLOSING}\n".startswith(self._held):
            self._step = self._rest_of_line

    def _rest_of_line(self, is_end: bool) -> Iterator[Piece]:
        line, newline, _ = self._held.partition("\n")
        if newline:
            self._step = self._line
        yield from self._take(len(line + newline))

    def _pass(self, is_end: bool) -> Iterator[Piece]:
        yield from self._take(len(self._held))


def _overlap(text: str, tag: str) -> int:
    """Return how many characters at the end of ``text`` may be the beginning of ``tag``."""
    return next((n for n in range(len(tag) - 1, 0, -1) if text.endswith(tag[:n])), 0)
