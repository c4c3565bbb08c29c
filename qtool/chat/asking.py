"""One question put to the engine so that it can answer: tried, mended, shortened."""

import contextlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from qtool.chat.client import ContextFullError, TemplateRefusedError, stream_chat
from qtool.chat.context import Fill, Overflow, Relief
from qtool.chat.mend import Mend, find_mends
from qtool.chat.messages import Message
from qtool.chat.queries import render_prompt
from qtool.chat.reasoning import Piece
from qtool.chat.request import Sampling
from qtool.chat.room import RoomMaker
from qtool.chat.screen import Screen
from qtool.engines.base import Endpoint, EngineKind
from qtool.errors import AuthError, NetworkError, UsageError
from qtool.language.message import say


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply that has begun; ``pieces`` are to be closed. ``relief`` says what was left out."""

    relief: Relief
    first: Piece
    pieces: Generator[Piece]


class Asker:
    """Remembers what an engine's template wants, and what the user wants of a full context."""

    def __init__(self, screen: Screen, *, overflow: Overflow | None, is_raw: bool) -> None:
        self._screen = screen
        self._overflow = overflow
        self._is_raw = is_raw
        self._mend: Mend | None = None

    def meet_engine(self) -> None:
        """Forget what the engine before wanted."""
        self._mend = None

    def ask(
        self, endpoint: Endpoint, messages: Sequence[Message], sampling: Sampling, fill: Fill
    ) -> Answer:
        """Return the answer to ``messages``; leave the oldest turns out where the context is full.

        They go only once the engine takes the rest: a message that is too long by itself costs
        nothing.

        Raises:
            QtoolError: see ``stream_chat``, ``RoomMaker`` and ``render_prompt``.
        """
        room = RoomMaker(endpoint, fill, sampling, self._screen, self._choose_overflow)
        relief = room.plan(messages)
        mends, mend = iter(find_mends(messages)), self._mend
        while True:
            sent = relief.apply(messages)
            sent = mend.apply(sent) if mend else sent
            self._try_template(endpoint, sent)
            pieces = stream_chat(endpoint, sent, sampling, is_raw=self._is_raw)
            try:
                first = next(pieces)
            except ContextFullError as exc:
                relief = room.relieve(messages, relief, exc)
                continue
            except TemplateRefusedError:
                mend = next(mends, None)
                if mend is None:
                    raise
                continue
            self._keep_mend(mend)
            return Answer(relief, first, pieces)

    def _try_template(self, endpoint: Endpoint, messages: Sequence[Message]) -> None:
        """Find out in seconds, not never, that the template does not end on ``messages``.

        A template is a program that comes with the model, and llama.cpp runs it without a limit;
        ours for transformers has one of its own. What else may be wrong, the request will say.
        """
        if endpoint.engine == EngineKind.LLAMA_CPP and not self._is_raw:
            with contextlib.suppress(UsageError, NetworkError, AuthError):
                render_prompt(endpoint, messages)

    def _keep_mend(self, mend: Mend | None) -> None:
        """Send messages like this from here on, and say so the first time."""
        if mend is not None and mend is not self._mend:
            told = say("the model's template refuses these messages: {how}", how=mend.told)
            self._screen.note(told)
            self._mend = mend

    def _choose_overflow(self) -> Overflow:
        """Return what to do when the context is full; ask the first time, if there is a user."""
        if self._overflow is None:
            question = say("the context is full; what shall be done")
            chosen = self._screen.choose(question, tuple(Overflow))
            self._overflow = Overflow(chosen) if chosen else Overflow.DROP_OLDEST
        return self._overflow
