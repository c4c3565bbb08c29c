"""Text measured in the columns of a terminal: Chinese takes two, combining marks none.

Source: https://www.unicode.org/reports/tr11/ (East Asian Width).
"""

import unicodedata

NARROW_COLUMNS = 64
"""Below that what stands side by side goes onto lines of its own."""

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

    Lines end between words; a word that is longer than a line is left to the terminal.
    """
    lines: list[str] = []
    line = indent
    for word in text.split():
        longer = f"{line}{' ' if line != indent else ''}{word}"
        if width_of(longer) > width and line != indent:
            lines.append(line)
            longer = f"{indent}{word}"
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
