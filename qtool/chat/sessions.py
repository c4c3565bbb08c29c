"""Earlier conversations: listed and found by what was said."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qtool.chat.journal import list_journals, read_journal
from qtool.chat.messages import Message, Role
from qtool.chat.width import NARROW_COLUMNS, shorten

SHOWN = 20
"""How many are listed at once."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """A conversation that a journal holds; ``written_at`` in seconds since 1970."""

    path: Path
    model: str
    written_at: float
    messages: tuple[Message, ...]

    @property
    def title(self) -> str:
        """The first thing that the user said, on one line."""
        said = next((m.content for m in self.messages if m.role is Role.USER), "")
        return " ".join(said.split())


def list_earlier(folder: Path, words: str = "", *, limit: int = SHOWN) -> list[Earlier]:
    """Return the newest conversations in which all ``words`` occur, the newest first.

    One that another continues is left out, and so is one in which nothing was said.
    """
    wanted = words.casefold().split()
    found: list[Earlier] = []
    for written_at, path in list_journals(folder):
        if len(found) == limit:
            break
        one = Earlier(path, _model(path), written_at, tuple(read_journal(path)))
        if one.title and _has(one, wanted) and not any(_continues(o, one) for o in found):
            found.append(one)
    return found


def describe_earlier(found: Sequence[Earlier], columns: int) -> str:
    """Return a numbered line for each, two where ``columns`` are few."""
    lines = []
    for number, one in enumerate(found, 1):
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.written_at))
        n_turns = sum(message.role is Role.USER for message in one.messages)
        size = f"{when}  {n_turns:3} turn{'s' * (n_turns > 1)}"
        if columns < NARROW_COLUMNS:
            lines += [f"{number:3}  {shorten(one.title, columns - 5)}", f"     {size}"]
        else:
            lines.append(f"{number:3}  {size:27}  {shorten(one.title, columns - 34)}")
    return "\n".join(lines)


def _has(one: Earlier, words: Sequence[str]) -> bool:
    text = "\n".join(message.content for message in one.messages).casefold()
    return all(word in text for word in words)


def _continues(newer: Earlier, older: Earlier) -> bool:
    return newer.messages[: len(older.messages)] == older.messages


def _model(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return str(json.loads(file.readline(64 * 1024))["model"])
    except (OSError, ValueError, KeyError, TypeError):
        return "?"
