"""A conversation's messages, in the shape that every OpenAI-compatible server takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from qtool.language.message import say

SUMMARY_HEAD = "This is what we said so far, in short:"

EXIT_WORDS = frozenset({"exit", "quit", "bye"})


class Role(StrEnum):
    """Who speaks."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Message:
    """One message. ``is_partial`` marks a reply that was stopped or cut off; ``reasoning`` came
    before it and is shown and kept, never sent again. ``others`` are fields of a history file that
    mean nothing here, and are written back as they were."""

    role: Role
    content: str
    is_partial: bool = False
    reasoning: str = ""
    others: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def to_api(self) -> dict[str, str]:
        """Return the message as the API takes it."""
        return {"role": str(self.role), "content": self.content}

    def to_history(self) -> dict[str, Any]:
        """Return the message as history files have it."""
        return {**self.to_api(), **self.others}


def parse_message(item: Any) -> Message:
    """Read ``{"role", "content"}``; other keys are kept.

    Raises:
        ValueError: what is wrong with ``item``, in words.
    """
    if not isinstance(item, dict):
        raise ValueError(f"it is {item!r:.40}, not an object with role and content")
    role, content = item.get("role"), item.get("content")
    if role not in tuple(Role):
        raise ValueError(
            say("role is {role!r}; it must be one of {roles}", role=role, roles=", ".join(Role))
        )
    if not isinstance(content, str):
        raise ValueError(say("content is {content}; it must be a text", content=f"{content!r:.60}"))
    others = {name: value for name, value in item.items() if name not in ("role", "content")}
    return Message(Role(role), whole_text(content), others=others)


def whole_text(text: str) -> str:
    """Return ``text`` with halves of characters (lone surrogates) joined or replaced by ``�``."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def split_last_turn(messages: Sequence[Message]) -> tuple[list[Message], list[Message]]:
    """Return what came before the last thing that the user said, and the messages from there on.

    Where the user has said nothing, the second list is empty.
    """
    said = [i for i, message in enumerate(messages) if message.role is Role.USER]
    at = said[-1] if said else len(messages)
    return list(messages[:at]), list(messages[at:])


def with_system(
    messages: Sequence[Message], system: str | None, *, fallback: str | None = None
) -> list[Message]:
    """Return ``messages`` headed by the system prompt ``system``, replacing an earlier one.

    Without ``system`` an earlier one stays; where there is none either, ``fallback`` is taken.
    """
    has_own = bool(count_system(messages))
    if system is None and has_own:
        return list(messages)
    chosen = fallback if system is None else system
    return replace_system(messages, chosen)


def replace_system(messages: Sequence[Message], system: str | None) -> list[Message]:
    """Return ``messages`` headed by ``system``, or by no system prompt."""
    head = [] if system is None else [Message(Role.SYSTEM, system)]
    return [*head, *messages[count_system(messages) :]]


def drop_oldest(
    messages: Sequence[Message], count: int, summary: str | None = None
) -> list[Message]:
    """Return ``messages`` without the ``count`` oldest ones after the system prompt.

    ``summary`` stands for them as a turn of its own.
    """
    n_system = count_system(messages)
    turn = [] if summary is None else summary_turn(summary)
    return [*messages[:n_system], *turn, *messages[n_system + count :]]


def summary_turn(summary: str) -> list[Message]:
    """Return the turn that stands for what ``summary`` tells of."""
    said = f"{SUMMARY_HEAD}\n\n{summary}"
    return [Message(Role.USER, said), Message(Role.ASSISTANT, "I will keep that in mind.")]


def count_oldest_turn(messages: Sequence[Message]) -> int:
    """Return how many messages the oldest turn has; 0 when only the last turn is left.

    A turn begins with what the user says; the system prompt belongs to none.
    """
    return next(iter(find_turns(messages)), 0)


def find_turns(messages: Sequence[Message]) -> list[int]:
    """Return where turns begin, the first one left out, counted from after the system prompt."""
    turns = messages[count_system(messages) :]
    return [i for i, message in enumerate(turns) if i and message.role is Role.USER]


def count_system(messages: Sequence[Message]) -> int:
    """Return 1 where the conversation is headed by a system prompt, else 0."""
    return int(bool(messages) and messages[0].role is Role.SYSTEM)
