"""From the tokens of a reply to what is sent of it."""

from __future__ import annotations

from collections.abc import Callable

from .detokenizer import Detokenizer
from .prompt import Prompt
from .reasoning import Piece, ReasoningSplitter
from .request import Request
from .stop_strings import StopScanner


class TextOut:
    """Whole characters, up to the first stop string, reasoning told apart, given to ``emit``."""

    def __init__(
        self,
        decode: Callable[[list[int]], str],
        request: Request,
        prompt: Prompt,
        emit: Callable[[Piece], None],
    ) -> None:
        self._detokenizer = Detokenizer(decode, prompt.context)
        self._stops = StopScanner(request.stops)
        splits = request.tells_reasoning and (prompt.has_reasoning or prompt.opens_reasoning)
        self._splitter = ReasoningSplitter(prompt.opens_reasoning) if splits else None
        self._emit = emit

    def push(self, token: int) -> bool:
        """Take the next token; tell whether a stop string ends the reply here."""
        self._pass_on(self._stops.push(self._detokenizer.push(token)))
        return self._stops.found is not None

    def flush(self) -> None:
        """Send what was held back. The reply is over."""
        self._pass_on(self._stops.push(self._detokenizer.flush()))
        self._pass_on(self._stops.flush())
        for piece in self._splitter.flush() if self._splitter else ():
            self._emit(piece)

    def _pass_on(self, text: str) -> None:
        if self._splitter is not None:
            for piece in self._splitter.push(text) if text else ():
                self._emit(piece)
        elif text:
            self._emit(Piece(text))
