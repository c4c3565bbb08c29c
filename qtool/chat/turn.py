"""One turn: what is asked of the engine, the reply as it comes, and its figures at the end."""

from dataclasses import dataclass, field
from typing import Any

from qtool.chat.messages import Message, Role, whole_text
from qtool.chat.reasoning import AllWasReasoning, Piece
from qtool.chat.stream import Delta, ReplyEnd
from qtool.language.message import say, together

STOPPED = "stopped"
"""Finish reason of a reply that the user stopped, or that broke off."""

IN_CIRCLES = "repetition"
"""Finish reason of a reply that said the same over and over; see ``qtool.chat.loops``."""

MIN_MEASURED_TOKENS = 8
"""Fewer than these come in one packet, and their rate would be the loopback's."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One reply with its figures; times are in seconds.

    ``n_pieces`` are those it came in, about one a token: all that is known of one that was stopped.
    ``is_continued`` marks what was added to an earlier reply.
    """

    reply: str
    reasoning: str
    engine: str
    model: str
    end: ReplyEnd
    first_token_s: float | None
    total_s: float
    n_pieces: int = 0
    is_continued: bool = False

    @property
    def decode_tokens_per_s(self) -> float | None:
        """The engine's own rate; where it tells none, the rate at which the reply came."""
        if self.end.decode_tokens_per_s or self.first_token_s is None:
            return self.end.decode_tokens_per_s
        n_after_first = (self.end.completion_tokens or self.n_pieces) - 1
        duration_s = self.total_s - self.first_token_s
        is_enough = n_after_first >= MIN_MEASURED_TOKENS and duration_s > 0
        return n_after_first / duration_s if is_enough else None


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of the engine.

    ``messages`` are sent. The reply takes the place of the last ``n_replaced`` messages of the
    session and begins with ``prefix``; where none comes, ``fallback`` takes the place of the last
    ``n_withdrawn``.
    """

    messages: tuple[Message, ...]
    n_replaced: int = 0
    prefix: Message | None = None
    n_withdrawn: int = 0
    fallback: tuple[Message, ...] = ()


@dataclass(slots=True)
class Draft:
    """A reply as far as it has come."""

    prefix: Message | None = None
    reply: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    end: ReplyEnd = field(default_factory=lambda: ReplyEnd(STOPPED))
    first_token_at: float | None = None
    n_pieces: int = 0

    @property
    def is_begun(self) -> bool:
        """Whether anything has come, if only an end."""
        return self.n_pieces > 0 or self.end.finish_reason != STOPPED

    def take(self, piece: Piece) -> None:
        """Add what has come."""
        match piece:
            case ReplyEnd():
                self.end = piece
            case AllWasReasoning():
                self.reasoning, self.reply = [*self.reasoning, *self.reply], []
            case Delta(text, is_reasoning):
                self.n_pieces += 1
                (self.reasoning if is_reasoning else self.reply).append(text)

    @property
    def text(self) -> str:
        """The reply so far, without what it goes on from."""
        return whole_text("".join(self.reply))

    @property
    def thoughts(self) -> str:
        """The reasoning so far."""
        return whole_text("".join(self.reasoning))

    def to_message(self) -> Message:
        """Return the whole reply as the conversation keeps it."""
        before = self.prefix or Message(Role.ASSISTANT, "")
        return Message(
            Role.ASSISTANT,
            before.content + self.text,
            is_partial=self.end.finish_reason in (STOPPED, IN_CIRCLES),
            reasoning=before.reasoning + self.thoughts,
        )


def describe_speed(turn: Turn) -> str:
    """Return the figures of ``turn`` on one line."""
    exact = turn.end.completion_tokens
    count: str = str(exact or 0)
    if exact is None and turn.n_pieces:
        count = say("about {n}", n=turn.n_pieces)
    parts = [say("{n} tokens in {duration_s:.1f} s", n=count, duration_s=turn.total_s)]
    if exact == 1:
        parts = [say("1 token in {duration_s:.1f} s", duration_s=turn.total_s)]
    if turn.first_token_s is not None:
        parts.append(say("first after {duration_s:.2f} s", duration_s=turn.first_token_s))
    if turn.decode_tokens_per_s:
        parts.append(say("{rate:.1f} tokens/s", rate=turn.decode_tokens_per_s))
    if turn.end.cached_tokens is not None:
        cached = say(
            "{n} of {total} prompt tokens cached",
            n=turn.end.cached_tokens,
            total=turn.end.prompt_tokens,
        )
        parts.append(cached)
    if turn.end.finish_reason == STOPPED:
        parts.append(say("stopped"))
    return together(parts, ", ")


def describe_turn(turn: Turn) -> dict[str, Any]:
    """Return ``turn`` in the shape of ``qtool chat --json``."""
    return {
        "reply": turn.reply,
        "reasoning": turn.reasoning,
        "finish_reason": turn.end.finish_reason,
        "engine": turn.engine,
        "model": turn.model,
        "usage": {
            "prompt_tokens": turn.end.prompt_tokens,
            "completion_tokens": turn.end.completion_tokens,
            "cached_tokens": turn.end.cached_tokens,
        },
        "timings": {
            "first_token_s": turn.first_token_s,
            "decode_tokens_per_s": turn.decode_tokens_per_s,
            "total_s": turn.total_s,
        },
    }
