"""A streamed reply with its lines ended between words; nothing is ever drawn twice.

A word near the right edge is held back until it is clear whether it fits; everything else is passed
on at once. The width is the terminal's when the line begins. Code is left to the terminal: a line
end within it would be copied along.
"""

import re
from collections.abc import Callable

from qtool.chat.width import CLOSING, JOINER, OPENING, width_of

MAX_HELD_COLUMNS = 24
"""A longer word that begins farther than this from the edge is broken by the terminal."""

MIN_COLUMNS = 20
"""Narrower lines are left to the terminal."""

TAB_COLUMNS = 8

_STEP = re.compile("\x1b\\[[0-9;]*m|.", re.DOTALL)
_MARKER = re.compile(r"[ \t]*(?:(?:[•*+-]|\d{1,3}[.)]) +|│ )?")
"""What begins a line; the lines that it is broken into stand below what follows it."""

_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})([^`]*)")


class ReplyWrap:
    """Turns pieces of a reply, styled or not, into pieces of lines no wider than the terminal.

    The sequence that switches a style comes in one piece.
    """

    def __init__(self, columns: Callable[[], int]) -> None:
        self._columns = columns
        self._fence = ""
        self._begin_line()

    def _begin_line(self) -> None:
        self._width = 0
        self._column = 0
        self._start = ""
        self._before = ""
        self._held: str | None = None
        self._held_columns = 0

    def push(self, text: str) -> str:
        """Return what can be shown now that ``text`` has come."""
        return "".join(map(self._take, _STEP.findall(text)))

    def flush(self) -> str:
        """Return the rest at the end of the reply."""
        shown = self._release()
        self._fence = ""
        self._begin_line()
        return shown

    def _take(self, character: str) -> str:
        """Return what can be shown now that ``character``, or a style, has come."""
        if character == "\n":
            shown = self._release() + character
            self._turn_fence()
            self._begin_line()
            return shown
        if character[0] == "\x1b":
            return self._add(character, 0)
        if self._width == 0:
            self._width = self._columns()
        if len(self._start) < self._width:
            self._start += character
        shown = ""
        if not self._before or self._may_break(character):
            shown = self._release()
            is_near = self._width - self._column <= MAX_HELD_COLUMNS
            self._held = "" if is_near and self._wraps else None
        columns = self._columns_of(character)
        self._before = character
        return shown + self._add(character, columns)

    @property
    def _wraps(self) -> bool:
        return not self._fence and self._width >= MIN_COLUMNS and not _FENCE.match(self._start)

    def _add(self, text: str, columns: int) -> str:
        """Hold ``text`` back, or pass it on; a word that is too long now goes onto its own line."""
        if self._held is None:
            self._column += columns
            if self._column > self._width > 0:  # the terminal has begun another line
                self._column = columns
            return text
        self._held += text
        self._held_columns += columns
        fits = self._column + self._held_columns <= self._width
        return "" if fits or _without_styles(self._held).isspace() else self._release()

    def _release(self) -> str:
        """Return what is held back, after the end of the line where it does not fit on it."""
        held, self._held = self._held or "", None
        columns, self._held_columns = self._held_columns, 0
        indent = " " * self._indent
        if self._column + columns <= self._width or self._column <= len(indent):
            self._column += columns
            return held
        word = re.sub("^((?:\x1b\\[[0-9;]*m)*)[ \t]+", r"\1", held)
        if not _without_styles(word):  # blanks beyond the edge
            return word
        self._column = len(indent) + width_of(_without_styles(word))
        return f"\n{indent}{word}"

    @property
    def _indent(self) -> int:
        """How many columns the lines stand in that this one is broken into."""
        match = _MARKER.match(self._start)
        indent = len(match[0].expandtabs(TAB_COLUMNS)) if match else 0
        return indent if indent <= self._width // 3 else 0

    def _columns_of(self, character: str) -> int:
        if character == "\t":
            return TAB_COLUMNS - (self._column + self._held_columns) % TAB_COLUMNS
        return 0 if self._before == JOINER or character < " " else width_of(character)

    def _may_break(self, character: str) -> bool:
        """Tell whether a line may end between the character before and ``character``."""
        before = self._before
        if not before or before == JOINER or width_of(character) == 0:
            return False
        if character in " \t":
            return before not in " \t"
        if before in " \t" or character in CLOSING or before in OPENING:
            return False
        return width_of(before) == 2 or width_of(character) == 2

    def _turn_fence(self) -> None:
        """See whether the line that has ended begins a block of code, or ends it."""
        match = _FENCE.fullmatch(self._start)
        if match and not self._fence:
            self._fence = match[1]
        elif match and match[1].startswith(self._fence) and not match[2].strip():
            self._fence = ""


def _without_styles(text: str) -> str:
    return re.sub("\x1b\\[[0-9;]*m", "", text)
