"""Markdown as it streams: styled, append-only, nothing is ever drawn twice.

A line's marker and the pairs within it (``**bold**``, ```code```) are held back until they can be
told from plain text; everything else is passed on at once. Only tables wait for their last row.
What is rendered does not depend on how the text was cut into pieces.

Source of the rules: https://spec.commonmark.org/0.31.2/, as far as replies use them.
"""

import re
from collections.abc import Callable

BOLD, ITALIC, STRUCK, CODE, DIM = ("1", "22"), ("3", "23"), ("9", "29"), ("36", "39"), ("2", "22")
HEADING = ("1;4", "22;24")

MAX_HELD = 240
"""Characters that may wait for the end of a pair; an asterisk that long ago was none."""

RULE = "─" * 32

_UNDECIDED = re.compile(
    r"[ \t]*(#{1,6}|`+[^`\n]*|~+[^\n]*"
    r"|(?:-[ \t]*)+|(?:\*[ \t]*)+|(?:_[ \t]*)+|\+|\d{1,9}[.)]?|>|\|.*)?"
)
_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})([^`\n]*)")
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+")
_RULE = re.compile(r" {0,3}(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,})")
_BULLET = re.compile(r"([ \t]*)[-*+][ \t]+(?=\S)")
_QUOTE = re.compile(r"([ \t]*)>[ \t]?")
_ROW = re.compile(r"[ \t]*\|.*\|[ \t]*")
_SEPARATOR = re.compile(r"[ \t]*\|?(?:[ \t]*:?-+:?[ \t]*\|)+[ \t]*(?::?-+:?)?[ \t]*")

_PLAIN = re.compile(r"[^`*_~\\\[\n]+")
_PAIRS = (
    (re.compile(r"(`+)(?!`)([^\n]*?[^`\n])\1(?!`)"), CODE),
    (re.compile(r"(\*\*|__)(?=[^\s*_])([^\n]*?[^\s\\])\1(?![*_])"), BOLD),
    (re.compile(r"(~~)(?=[^\s~])([^\n]*?[^\s\\])\1(?!~)"), STRUCK),
    (re.compile(r"([*_])(?=[^\s*_])([^\n]*?[^\s\\*_])\1(?![*_\w])"), ITALIC),
)
_LINK = re.compile(r"\[([^\]\n]+)\]\(([^()\s]+(?:\([^()\s]*\))?[^()\s]*)\)(?!\))")
_ESCAPE = re.compile(r"\\([*_`~#\\])")


class MarkdownStream:
    """Turns pieces of Markdown into pieces of styled text.

    ``render_table`` gets the lines of a table and returns what to show in their place.
    """

    def __init__(self, render_table: Callable[[str], str] = str) -> None:
        self._render_table = render_table
        self._begin()

    def _begin(self) -> None:
        self._held = ""
        self._last = ""
        self._fence: str | None = None
        self._is_line_begun = False
        self._closing = ""
        self._table: list[str] = []

    def push(self, text: str) -> str:
        """Return what can be shown now that ``text`` has come."""
        self._held += text
        return self._advance(is_end=False)

    def flush(self) -> str:
        """Return the rest at the end of the reply."""
        shown = self._advance(is_end=True) + self._end_table() + self._closing
        self._begin()
        return shown

    def _advance(self, *, is_end: bool) -> str:
        shown: list[str] = []
        while self._held:
            step = self._line_step if self._is_line_begun else self._start_step
            piece = step(is_end)
            if piece is None:
                break
            shown.append(piece)
        return "".join(shown)

    def _take(self, count: int) -> str:
        taken, self._held = self._held[:count], self._held[count:]
        self._last = taken[-1:] or self._last
        return taken

    def _start_step(self, is_end: bool) -> str | None:
        """Decide what a line is; ``None`` until that is clear."""
        line, newline, _ = self._held.partition("\n")
        is_whole = bool(newline) or is_end
        if self._fence is not None:
            return self._code_step(line, is_whole)
        if not is_whole and _UNDECIDED.fullmatch(line) and len(line) < 4000:
            return None
        if is_whole and (shown := self._whole_line(line)) is not None:
            return shown
        shown = self._end_table()
        self._is_line_begun = True
        if match := _HEADING.match(line):
            self._take(match.end())
            self._closing = _off(HEADING)
            return shown + _on(HEADING)
        if match := _BULLET.match(line):
            self._take(match.end())
            return f"{shown}{match[1]}• "
        if match := _QUOTE.match(line):
            self._take(match.end())
            return f"{shown}{match[1]}{_styled('│', DIM)} "
        return shown

    def _whole_line(self, line: str) -> str | None:
        """Show a fence, a rule or a row; ``None`` where the line is none of these."""
        if match := _FENCE.fullmatch(line):
            shown = self._end_table()
            self._fence = match[1]
            self._take(len(line) + 1)
            return f"{shown}{_styled(line, DIM)}\n"
        if _ROW.fullmatch(line):
            self._table.append(line)
            self._take(len(line) + 1)
            return ""
        if _RULE.fullmatch(line):
            shown = self._end_table()
            self._take(len(line))
            self._is_line_begun = True
            return shown + _styled(RULE, DIM)
        return None

    def _code_step(self, line: str, is_whole: bool) -> str | None:
        """Pass code on, and see whether the fence closes."""
        fence = self._fence or ""
        bare = line.strip(" \t")
        may_close = not bare.strip(fence[0])
        if may_close and not is_whole:
            return None
        if may_close and len(bare) >= len(fence):
            self._fence = None
            self._take(len(line))
            self._is_line_begun = True
            return _styled(line, DIM)
        self._is_line_begun = True
        return ""

    def _line_step(self, is_end: bool) -> str | None:
        """Show the next piece within a line; ``None`` until it is clear what it is."""
        if self._held[0] == "\n":
            self._is_line_begun = False
            closing, self._closing = self._closing, ""
            return closing + self._take(1)
        if self._fence is not None:
            return _styled(self._take(len(self._held.partition("\n")[0])), CODE)
        if match := _PLAIN.match(self._held):
            return self._take(match.end())
        window = self._held.partition("\n")[0][:MAX_HELD]
        is_whole = is_end or len(window) < len(self._held) or len(window) == MAX_HELD
        for show in (self._escape, self._pair, self._link):
            shown = show(window, is_whole)
            if shown is not None:
                return shown
        if not is_whole:
            return None
        return self._take(len(window) - len(window.lstrip(window[0])) or 1)

    def _escape(self, window: str, is_whole: bool) -> str | None:
        if match := _ESCAPE.match(window):
            self._take(match.end())
            return match[1]
        is_lone = window[0] == "\\" and len(window) > 1
        return self._take(1) if is_lone else None

    def _pair(self, window: str, is_whole: bool) -> str | None:
        is_within_word = window[0] == "_" and bool(re.match(r"\w", self._last))
        if is_within_word:
            return self._take(1)
        if window[:2].strip(window[0]).isspace():  # ``a * b``
            return self._take(1)
        for pattern, style in _PAIRS:
            match = pattern.match(window)
            if match and (is_whole or match.end() < len(window)):
                self._take(match.end())
                inner = match[2] if style is CODE else render_inline(match[2])
                return _styled(inner.strip(" ") if style is CODE else inner, style)
        return None

    def _link(self, window: str, is_whole: bool) -> str | None:
        match = _LINK.match(window)
        if match is None or not (is_whole or match.end() < len(window)):
            return None
        self._take(match.end())
        text, address = match[1], match[2]
        return address if text == address else f"{render_inline(text)} ({address})"

    def _end_table(self) -> str:
        """Show the table that has come to its end; rows that make none stay as they are."""
        rows, self._table = self._table, []
        if len(rows) >= 2 and _SEPARATOR.fullmatch(rows[1]):
            return self._render_table("\n".join(rows)).rstrip("\n") + "\n"
        return "".join(f"{render_inline(row)}\n" for row in rows)


def render_inline(text: str) -> str:
    """Return one line of ``text`` with its pairs styled."""
    stream = MarkdownStream()
    stream._is_line_begun = True
    return stream.push(text) + stream.flush()


def draw_table(text: str, width: int) -> str:
    """Return the Markdown table ``text`` drawn by rich, at most ``width`` columns wide."""
    import io

    from rich.console import Console
    from rich.markdown import Markdown

    page = io.StringIO()
    console = Console(file=page, width=width, force_terminal=True, color_system="standard")
    console.print(Markdown(text))
    lines = [line.rstrip() for line in page.getvalue().split("\n")]
    return "\n".join(line for line in lines if re.sub("\x1b\\[[0-9;]*m", "", line).strip())


def _on(style: tuple[str, str]) -> str:
    return f"\x1b[{style[0]}m"


def _off(style: tuple[str, str]) -> str:
    return f"\x1b[{style[1]}m"


def _styled(text: str, style: tuple[str, str]) -> str:
    return f"{_on(style)}{text}{_off(style)}" if text else ""
