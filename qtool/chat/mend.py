"""Conversations that a template refuses, changed as little as makes them pass.

Old Mistral and Gemma know no system prompt; many templates insist on user and assistant in turn,
the user first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from qtool.chat.messages import Message, Role, count_system
from qtool.language.message import say


@dataclass(frozen=True, slots=True)
class Mend:
    """One way to change what is sent; ``told`` says so to the user."""

    told: str
    apply: Callable[[Sequence[Message]], list[Message]]


def merge_neighbours(messages: Sequence[Message]) -> list[Message]:
    """Join messages of the same role that follow one another."""
    merged: list[Message] = []
    for message in messages:
        if merged and merged[-1].role is message.role:
            content = f"{merged[-1].content}\n\n{message.content}"
            merged[-1] = replace(merged[-1], content=content)
        else:
            merged.append(message)
    return merged


def move_system(messages: Sequence[Message]) -> list[Message]:
    """Put the system prompt before the first thing that the user says."""
    if not count_system(messages):
        return list(messages)
    system, *rest = messages
    at = next((i for i, m in enumerate(rest) if m.role is Role.USER), None)
    if at is None:
        return [Message(Role.USER, system.content), *rest]
    rest[at] = replace(rest[at], content=f"{system.content}\n\n{rest[at].content}")
    return rest


def begin_with_user(messages: Sequence[Message]) -> list[Message]:
    """Leave out what the assistant says before the user has said anything."""
    n_system = count_system(messages)
    first = next((i for i, m in enumerate(messages) if m.role is Role.USER), n_system)
    return [*messages[:n_system], *messages[first:]]


def _all(messages: Sequence[Message]) -> list[Message]:
    return merge_neighbours(move_system(begin_with_user(messages)))


MENDS = (
    Mend(say("messages of the same speaker in a row are sent as one"), merge_neighbours),
    Mend(
        say("it has no place for a system prompt, which goes before your first message"),
        move_system,
    ),
    Mend(say("system prompt and messages are joined so that user and assistant take turns"), _all),
)
"""The gentlest first."""


def find_mends(messages: Sequence[Message]) -> list[Mend]:
    """Return the ways that would change ``messages`` at all."""
    return [mend for mend in MENDS if mend.apply(messages) != list(messages)]
