"""Earlier conversations: listed, found by what was said, and gone on with.

A question asked by ``-p`` is in a journal like any conversation. It is found by its words, but it
is not listed among conversations, nor gone on with where there is one.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from qtool.chat.journal import last_journal, list_journals, read_head, read_journal
from qtool.chat.messages import Message, Role
from qtool.chat.width import NARROW_COLUMNS, shorten, width_of
from qtool.language.message import say

SIZE_COLUMNS = 27

SHOWN = 20
"""How many are listed at once."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """A conversation that a journal holds; ``written_at`` in seconds since 1970."""

    path: Path
    model: str
    written_at: float
    messages: tuple[Message, ...]
    is_once: bool = False

    @property
    def title(self) -> str:
        """The first thing that the user said, on one line."""
        said = next((m.content for m in self.messages if m.role is Role.USER), "")
        return " ".join(said.split())


def list_earlier(folder: Path, words: str = "", *, limit: int = SHOWN) -> list[Earlier]:
    """Return the newest conversations in which all ``words`` occur, the newest first.

    One that another continues is left out, and so is one in which nothing was said; single
    questions are there only where ``words`` ask for them.
    """
    wanted = words.casefold().split()
    found: list[Earlier] = []
    for written_at, path in list_journals(folder):
        if len(found) == limit:
            break
        head = read_head(path)
        if head.is_once and not wanted:
            continue
        one = Earlier(path, head.model, written_at, tuple(read_journal(path)), head.is_once)
        if one.title and _has(one, wanted) and not any(_continues(o, one) for o in found):
            found.append(one)
    return found


def describe_earlier(
    found: Sequence[Earlier], columns: int, words: Callable[[str], str] = str
) -> str:
    """Return a numbered line for each, two where ``columns`` are few.

    ``words`` puts texts into the user's language.
    """
    lines = []
    for number, one in enumerate(found, 1):
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(one.written_at))
        n_turns = sum(message.role is Role.USER for message in one.messages)
        turns = say("{n:3} turns", n=n_turns) if n_turns > 1 else say("{n:3} turn", n=n_turns)
        size = f"{when}  {' -p' if one.is_once else words(turns)}"
        if columns < NARROW_COLUMNS:
            lines += [f"{number:3}  {shorten(one.title, columns - 5)}", f"     {size}"]
        else:
            gap = " " * (SIZE_COLUMNS - width_of(size))
            lines.append(
                f"{number:3}  {size}{gap}  {shorten(one.title, columns - 7 - SIZE_COLUMNS)}"
            )
    return "\n".join(lines)


def _has(one: Earlier, words: Sequence[str]) -> bool:
    text = "\n".join(message.content for message in one.messages).casefold()
    return all(word in text for word in words)


def _continues(newer: Earlier, older: Earlier) -> bool:
    return newer.messages[: len(older.messages)] == older.messages


def last_conversation(folder: Path) -> Path:
    """Return the journal of the conversation that was written to last.

    A single question, or one in which nothing was said, is taken where there is no other.

    Raises:
        NotFoundError: there is none at all.
    """
    for _, path in list_journals(folder):
        if not read_head(path).is_once and any(m.role is Role.USER for m in read_journal(path)):
            return path
    return last_journal(folder)
