"""A conversation's messages, in the shape that every OpenAI-compatible server takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

EXIT_WORDS = frozenset({"exit", "quit", "bye"})


class Role(StrEnum):
    """Who speaks."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Message:
    """One message. ``is_partial`` marks a reply that was stopped or cut off."""

    role: Role
    content: str
    is_partial: bool = False

    def to_api(self) -> dict[str, str]:
        """Return the message as the API and history files have it."""
        return {"role": str(self.role), "content": self.content}


def parse_message(item: Any) -> Message:
    """Read ``{"role", "content"}``; other keys are ignored.

    Raises:
        ValueError: what is wrong with ``item``, in words.
    """
    if not isinstance(item, dict):
        raise ValueError(f"it is a {type(item).__name__}, not an object with role and content")
    role, content = item.get("role"), item.get("content")
    if role not in tuple(Role):
        raise ValueError(f"role is {role!r}; it must be one of {', '.join(Role)}")
    if not isinstance(content, str):
        raise ValueError(f"content is {content!r:.60}; it must be a text")
    return Message(Role(role), whole_text(content))


def whole_text(text: str) -> str:
    """Return ``text`` with halves of characters (lone surrogates) joined or replaced by ``�``."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def drop_oldest(messages: Sequence[Message], count: int) -> list[Message]:
    """Return ``messages`` without the ``count`` oldest ones after the system prompt."""
    n_system = _count_system(messages)
    return [*messages[:n_system], *messages[n_system + count :]]


def count_oldest_turn(messages: Sequence[Message]) -> int:
    """Return how many messages the oldest turn has; 0 when only the last turn is left.

    A turn begins with what the user says; the system prompt belongs to none.
    """
    turns = messages[_count_system(messages) :]
    return next((i for i, m in enumerate(turns[1:], 1) if m.role is Role.USER), 0)


def _count_system(messages: Sequence[Message]) -> int:
    return int(bool(messages) and messages[0].role is Role.SYSTEM)
