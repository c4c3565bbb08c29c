"""Text measured in the columns of a terminal: Chinese takes two, combining marks none.

Source: https://www.unicode.org/reports/tr11/ (East Asian Width).
"""

import re
import unicodedata

NARROW_COLUMNS = 64
"""Below that what stands side by side goes onto lines of its own."""

_WIDE = "\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\uff01-\uff60"
OPENING, CLOSING = "（“《「『", "，。；：、）？！”》」』…])},.;:!?"
"""Marks that end no line, and marks that begin none."""

_PIECE = re.compile(rf"(\s*)([{OPENING}]*(?:[{_WIDE}]|[^\s{_WIDE}]+)[{re.escape(CLOSING)}]*)")
"""What stays on one line, and the blanks before it. Source of the rule about punctuation:
https://www.w3.org/TR/clreq/#prohibition_rules_for_line_start_end"""

JOINER = "\u200d"
"""Joins the emoji around it into one."""


def width_of(text: str) -> int:
    """Return how many columns ``text`` takes."""
    columns = 0
    before = ""
    for character in text:
        if before != JOINER:
            columns += _width(character)
        before = character
    return columns


def shorten(text: str, width: int) -> str:
    """Return ``text`` on one line of at most ``width`` columns."""
    line = " ".join(text.split())
    return line if width_of(line) <= width else f"{_cut(line, width - 2)} …"


def wrap(text: str, width: int, *, indent: str = "") -> list[str]:
    """Return ``text`` in lines of at most ``width`` columns, each after ``indent``.

    Lines end between words, and between wide characters but not before the punctuation that
    belongs to them; a word that is longer than a line is left to the terminal.
    """
    lines: list[str] = []
    line = indent
    for match in _PIECE.finditer(text.strip()):
        blank, piece = match.groups()
        longer = f"{line}{' ' if blank and line != indent else ''}{piece}"
        if width_of(longer) > width and line != indent:
            lines.append(line)
            longer = f"{indent}{piece}"
        line = longer
    return [*lines, line]


def _cut(line: str, width: int) -> str:
    end = len(line)
    while end and width_of(line[:end]) > width:
        end -= 1
    return line[:end]


def _width(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
