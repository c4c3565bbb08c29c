"""The turns of a conversation: what is asked, streamed, kept, and mended when things break."""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from qtool.chat.client import ContextFullError, stream_chat
from qtool.chat.messages import (
    EXIT_WORDS,
    Message,
    Role,
    count_oldest_turn,
    drop_oldest,
    whole_text,
)
from qtool.chat.request import Sampling
from qtool.chat.session import Session
from qtool.chat.stream import Delta, ReplyEnd
from qtool.engines.base import Endpoint
from qtool.engines.keeper import EngineKeeper
from qtool.errors import QtoolError, Terminated

STOPPED = "stopped"
"""Finish reason of a reply that the user stopped."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One finished reply with its figures; times are in seconds."""

    reply: str
    reasoning: str
    engine: str
    model: str
    end: ReplyEnd
    first_token_s: float | None
    total_s: float


@dataclass(slots=True)
class Draft:
    """A reply as far as it has come."""

    reply: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    end: ReplyEnd = field(default_factory=lambda: ReplyEnd(STOPPED))
    first_token_at: float | None = None

    @property
    def text(self) -> str:
        """The reply so far."""
        return whole_text("".join(self.reply))


class Screen(Protocol):
    """What a conversation needs of whoever shows it. ``ui`` has three of them."""

    @property
    def keeps_going(self) -> bool:
        """Tell whether a failed or stopped turn is followed by the next one."""
        ...

    def read(self) -> str | None:
        """Return the next thing the user says, ``None`` at the end of input."""
        ...

    def wait_for_engine(self, is_ready: bool) -> None:
        """Say that the model is still loading, unless ``is_ready``."""
        ...

    def show(self, delta: Delta) -> None:
        """Show a piece of the reply."""
        ...

    def finish(self, turn: Turn) -> None:
        """End the reply."""
        ...

    def note(self, text: str) -> None:
        """Tell the user about the conversation."""
        ...

    def fail(self, exc: QtoolError) -> None:
        """Tell the user that a turn failed."""
        ...


class Conversation:
    """Takes turns between a user on a screen and an engine, and keeps them in a session."""

    def __init__(
        self,
        session: Session,
        engine: EngineKeeper,
        sampling: Sampling,
        screen: Screen,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._session = session
        self._engine = engine
        self._sampling = sampling
        self._screen = screen
        self._clock = clock

    def run(self) -> None:
        """Take turns until an exit word or the end of input, then write the history file.

        Raises:
            KeyboardInterrupt: interrupted where nobody can be asked; nothing is written then
                but the journal.
            QtoolError: a turn failed where nobody can be asked, or the history file cannot be
                written.
        """
        while (text := self._screen.read()) is not None:
            if text.strip().lower() in EXIT_WORDS:
                break
            if text.strip():
                self.take_turn(text)
        self._save()

    def run_once(self, text: str) -> None:
        """Take one turn, whatever its words, and write the history file. Raises as ``run``."""
        self.take_turn(text)
        self._save()

    def take_turn(self, text: str) -> None:
        """Say ``text``, show the reply and keep both.

        A reply that is interrupted keeps what was said; a turn that fails without a word is
        withdrawn, so that the next one finds a conversation in order.
        """
        try:
            self._session.add(Message(Role.USER, text))
            turn = self._answer()
        except Terminated:
            raise
        except KeyboardInterrupt:
            if not self._screen.keeps_going:
                raise
            has_reply = self._session.messages[-1:] and self._session.messages[-1].is_partial
            self._screen.note("stopped" if has_reply else "stopped before the reply began")
        except QtoolError as exc:
            if not self._screen.keeps_going:
                raise
            self._screen.fail(exc)
        else:
            self._screen.finish(turn)
            self._explain(turn.end)

    def _answer(self) -> Turn:
        """Stream the reply to the last message; whatever happens, what was said is kept."""
        draft, started_at = Draft(), self._clock()
        try:
            endpoint = self._await_engine()
            self._receive(endpoint, draft)
        finally:
            self._keep(draft)
        return self._turn(endpoint, draft, started_at)

    def _save(self) -> None:
        if path := self._session.save():
            if path != self._session.output:
                self._screen.note(f"{self._session.output} was changed by somebody else meanwhile")
            self._screen.note(f"saved to {path}")

    def _await_engine(self) -> Endpoint:
        self._screen.wait_for_engine(self._engine.is_ready)
        endpoint = self._engine.endpoint()
        self._screen.wait_for_engine(True)
        return endpoint

    def _receive(self, endpoint: Endpoint, draft: Draft) -> None:
        """Stream the reply into ``draft``; leave the oldest turns out where the context is full.

        They go only once the engine takes the rest: a message that is too long by itself costs
        nothing.
        """
        n_dropped = 0
        while True:
            messages = drop_oldest(self._session.messages, n_dropped)
            with contextlib.closing(stream_chat(endpoint, messages, self._sampling)) as pieces:
                try:
                    first = next(pieces)
                except ContextFullError as exc:
                    n_dropped += self._make_room(messages, exc)
                    continue
                self._drop(n_dropped)
                self._collect(itertools.chain([first], pieces), draft)
                return

    def _collect(self, pieces: Iterator[Delta | ReplyEnd], draft: Draft) -> None:
        for piece in pieces:
            if isinstance(piece, ReplyEnd):
                draft.end = piece
                continue
            if draft.first_token_at is None:
                draft.first_token_at = self._clock()
            (draft.reasoning if piece.is_reasoning else draft.reply).append(piece.text)
            self._screen.show(piece)

    def _make_room(self, messages: Sequence[Message], exc: ContextFullError) -> int:
        """Return how many messages the oldest turn has.

        Raises:
            ContextFullError: only the last message is left.
        """
        count = count_oldest_turn(messages)
        if not count:
            raise ContextFullError(
                f"this message alone is too long: {exc.message}",
                hint="say it in shorter pieces, or start with a larger --ctx",
            ) from exc
        return count

    def _drop(self, count: int) -> None:
        if count:
            self._session.drop_oldest(count)
            self._screen.note(f"the context is full: the oldest {count} messages were dropped")

    def _keep(self, draft: Draft) -> None:
        """Put the reply into the session, or take the question back where there is none."""
        if not draft.reply:
            self._session.take_back()
            return
        is_partial = draft.end.finish_reason == STOPPED
        self._session.add(Message(Role.ASSISTANT, draft.text, is_partial))

    def _turn(self, endpoint: Endpoint, draft: Draft, started_at: float) -> Turn:
        first = draft.first_token_at
        return Turn(
            reply=draft.text,
            reasoning="".join(draft.reasoning),
            engine=endpoint.engine,
            model=endpoint.model,
            end=draft.end,
            first_token_s=None if first is None else first - started_at,
            total_s=self._clock() - started_at,
        )

    def _explain(self, end: ReplyEnd) -> None:
        if end.finish_reason == "length":
            limit = self._sampling.max_new_tokens
            if limit is not None and (end.completion_tokens or 0) >= limit:
                self._screen.note(f"cut off at {limit} tokens; -m allows more")
            else:
                self._screen.note("cut off: the context is full")
