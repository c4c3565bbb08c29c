"""One turn: what is asked of the engine, the reply as it comes, and its figures at the end."""

from dataclasses import dataclass, field
from typing import Any

from qtool.chat.messages import Message, Role, whole_text
from qtool.chat.reasoning import AllWasReasoning, Piece
from qtool.chat.stream import Delta, ReplyEnd

STOPPED = "stopped"
"""Finish reason of a reply that the user stopped, or that broke off."""


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

    def take(self, piece: Piece) -> None:
        """Add what has come."""
        match piece:
            case ReplyEnd():
                self.end = piece
            case AllWasReasoning():
                self.reasoning, self.reply = [*self.reasoning, *self.reply], []
            case Delta(text, is_reasoning):
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
            is_partial=self.end.finish_reason == STOPPED,
            reasoning=before.reasoning + self.thoughts,
        )


def describe_speed(turn: Turn) -> str:
    """Return the figures of ``turn`` on one line."""
    parts = [f"{turn.end.completion_tokens or 0} tokens in {turn.total_s:.1f} s"]
    if turn.first_token_s is not None:
        parts.append(f"first after {turn.first_token_s:.2f} s")
    if turn.end.decode_tokens_per_s:
        parts.append(f"{turn.end.decode_tokens_per_s:.1f} tokens/s")
    if turn.end.cached_tokens is not None:
        parts.append(f"{turn.end.cached_tokens} of {turn.end.prompt_tokens} prompt tokens cached")
    return ", ".join(parts)


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
            "decode_tokens_per_s": turn.end.decode_tokens_per_s,
            "total_s": turn.total_s,
        },
    }
