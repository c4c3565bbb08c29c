"""How full the context is, and what goes when it is full."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from qtool.chat.messages import (
    Message,
    Role,
    count_system,
    drop_oldest,
    find_turns,
    split_last_turn,
    summary_turn,
)
from qtool.chat.width import shorten
from qtool.language.message import say, together

WARNING_SHARE = 0.8
"""How full the context is when the user is told."""

RESERVE_SHARE = 1 / 8
"""How much of the context is kept free for a reply, unless a reply may have less."""

SUMMARY_TOKENS = 256
"""How long a summary of what goes may be."""

SUMMARY_REQUEST = (
    "Summarise our conversation so far in at most 150 words, for yourself to go on from. Keep"
    " names, numbers, decisions and open questions."
)


class Overflow(StrEnum):
    """What to do when the conversation is longer than the context."""

    DROP_OLDEST = "drop-oldest"
    STOP = "stop"
    SUMMARISE = "summarise"


@dataclass(frozen=True, slots=True)
class Relief:
    """The ``count`` oldest messages after the system prompt go; ``summary`` stands for them."""

    count: int = 0
    summary: str | None = None

    def apply(self, messages: Sequence[Message]) -> list[Message]:
        """Return what is left of ``messages``."""
        return drop_oldest(messages, self.count, self.summary)

    def and_then(self, later: "Relief") -> "Relief":
        """Return this and what went ``later`` out of what it had left."""
        if not later.count:
            return self
        n_summary = 0 if self.summary is None else len(summary_turn(self.summary))
        return Relief(self.count + later.count - n_summary, later.summary)

    def spares_last_turn(self, messages: Sequence[Message]) -> bool:
        """Tell whether all that the user said last, and after it, is left of ``messages``."""
        before, last = split_last_turn(messages)
        has_last = bool(last) and count_system(messages) + self.count <= len(before)
        return has_last or not self.count

    def gone(self, messages: Sequence[Message]) -> list[Message]:
        """Return what is not left of ``messages``."""
        return list(messages[count_system(messages) :][: self.count])


@dataclass(frozen=True, slots=True)
class Fill:
    """The context's length and what the engine counted last, both in tokens.

    ``tokens_per_character`` is measured on the conversation itself, so that what was added or
    taken away since can be estimated.
    """

    n_ctx_tokens: int | None = None
    tokens_per_character: float | None = None

    def measure(self, messages: Sequence[Message], n_tokens: int) -> "Fill":
        """Return this after the engine counted ``n_tokens`` for ``messages``."""
        return Fill(self.n_ctx_tokens, n_tokens / max(1, _n_characters(messages)))

    def estimate(self, messages: Sequence[Message]) -> int | None:
        """Return how many tokens ``messages`` have, if anything is known of that."""
        if self.tokens_per_character is None:
            return None
        return round(_n_characters(messages) * self.tokens_per_character)

    def share(self, messages: Sequence[Message]) -> float | None:
        """Return how full ``messages`` make the context, 1.0 being all of it."""
        n_tokens = self.estimate(messages)
        return n_tokens / self.n_ctx_tokens if n_tokens is not None and self.n_ctx_tokens else None

    def describe(self, messages: Sequence[Message]) -> str:
        """Return it in words."""
        n_tokens, share = self.estimate(messages), self.share(messages)
        if share is not None:
            return say(
                "{share:.0%} full ({n} of {length} tokens)",
                share=share,
                n=n_tokens,
                length=self.n_ctx_tokens,
            )
        if self.n_ctx_tokens:
            return say("of {length} tokens", length=self.n_ctx_tokens)
        return say("of unknown length")

    def plan_relief(
        self, messages: Sequence[Message], max_new_tokens: int | None, share: float = 1.0
    ) -> int:
        """Return how many of the oldest messages must go so that a reply finds room.

        ``share`` of the context may be used. The last turn always stays.
        """
        if self.n_ctx_tokens is None or self.tokens_per_character is None:
            return 0
        reserve = int(self.n_ctx_tokens * RESERVE_SHARE)
        limit = int(self.n_ctx_tokens * share) - min(reserve, max_new_tokens or reserve)
        n_left, at, n_system = _n_characters(messages), 0, count_system(messages)
        for count in find_turns(messages):
            if round(n_left * self.tokens_per_character) <= limit:
                break
            n_left -= _n_characters(messages[n_system + at : n_system + count])
            at = count
        return at


def describe_relief(relief: Relief, gone: Sequence[Message], *, width: int = 40) -> str:
    """Say what went, by the beginnings of what the user said in it."""
    said = [m.content for m in gone if m.role is Role.USER]
    short: list[str] = [f"“{shorten(text, width)}”" for text in said]
    if len(short) > 3:
        short = [*short[:2], say("{n} more", n=len(short) - 3), short[-1]]
    what = together(short, ", ")
    if relief.summary is None:
        return say(
            "the context is full: the oldest {n} messages were dropped: {what}",
            n=relief.count,
            what=what,
        )
    return say(
        "the context is full: the oldest {n} messages were summed up: {what}",
        n=relief.count,
        what=what,
    )


def _n_characters(messages: Sequence[Message]) -> int:
    """Count characters, a few more for each message: templates frame them."""
    return sum(len(message.content) + 16 for message in messages)
