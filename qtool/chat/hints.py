"""Hints that repeat the user's own command, so that nothing of it is lost when they are pasted."""

import shlex
from collections.abc import Sequence

from qtool.errors import QtoolError
from qtool.language.message import Message

OWN_COMMAND = "qtool chat …"
"""What stands in a hint for the command as the user gave it."""

MAX_CHARACTERS = 160
"""Of a longer command (a prompt in it, mostly) nobody wants to see all."""


def own_command(arguments: Sequence[str]) -> str:
    """Return the command line of ``arguments``, quoted for a shell."""
    command = shlex.join(["qtool", *arguments])
    return command if len(command) <= MAX_CHARACTERS else OWN_COMMAND


def complete_hint(exc: QtoolError, command: str) -> QtoolError:
    """Put ``command`` where the hint of ``exc`` means the user's own; return ``exc``."""
    if exc.hint:
        exc.hint = _completed(exc.hint, command)
    return exc


def _completed(text: str, command: str) -> str:
    """Return ``text`` with ``command`` in it; of a message, also in its values."""
    whole = text.replace(OWN_COMMAND, command)
    if not isinstance(text, Message):
        return whole
    values = {
        name: _completed(value, command) if isinstance(value, str) else value
        for name, value in text.values.items()
    }
    return Message(whole, text.template, values)
