"""The only printer of the program besides ``chat/ui/``.

stdout carries the result, stderr everything else. With ``--json`` exactly one object goes to
stdout, errors included; with ``--quiet`` nothing but results and errors is said.
"""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, TextIO

from qtool.errors import QtoolError
from qtool.language.message import Message, say
from qtool.language.translation import Language, translate

SCHEMA_VERSION = 1

_UNSAFE = re.compile(
    "\x1b(?!\\[[0-9;]*m)|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)
"""What files, hubs and models must not send to a terminal: it could move the cursor, set the title
or the clipboard, or turn text around. Colours may pass: they are our own."""


def without_controls(text: str) -> str:
    """Return ``text`` without control characters (but line ends and tabs) and their sequences."""
    return _UNSAFE.sub("", text)


WARNING, ERROR, HINT = say("warning:"), say("error:"), say("hint:")


class Style(StrEnum):
    """ANSI attributes; colour never carries meaning alone."""

    BOLD = "1"
    DIM = "2"
    RED = "31"
    GREEN = "32"
    YELLOW = "33"
    CYAN = "36"


class Mode(StrEnum):
    """How a command talks: to a person, to a program, or as little as possible."""

    TEXT = "text"
    JSON = "json"
    QUIET = "quiet"


def wants_colour(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Decide by NO_COLOR, FORCE_COLOR and TERM, then by whether ``stream`` is a terminal.

    Sources: https://no-color.org, https://force-color.org.
    """
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR", "") not in ("", "0"):
        return True
    return stream.isatty() and environ.get("TERM") != "dumb"


class Output:
    """One command's voice, made once from its flags and handed down to what renders.

    ``language`` is that of messages (see ``qtool.language``); JSON stays English.
    """

    def __init__(
        self,
        mode: Mode = Mode.TEXT,
        *,
        is_debug: bool = False,
        stdout: TextIO | None = None,
        stderr: TextIO | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.mode = mode
        self.is_debug = is_debug
        self.language = Language.ENGLISH
        self.stdout = stdout or sys.stdout
        self.stderr = stderr or sys.stderr
        environ = os.environ if environ is None else environ
        self._is_stdout_coloured = wants_colour(self.stdout, environ)
        self._is_stderr_coloured = wants_colour(self.stderr, environ)

    @property
    def is_json(self) -> bool:
        """Tell whether the one result is a JSON object."""
        return self.mode is Mode.JSON

    @property
    def is_interactive(self) -> bool:
        """Tell whether a person can be asked: text mode, stdin and stderr are terminals."""
        return self.mode is Mode.TEXT and sys.stdin.isatty() and self.stderr.isatty()

    @property
    def is_animated(self) -> bool:
        """Tell whether progress may be redrawn in place on stderr."""
        is_dumb = os.environ.get("TERM") == "dumb"
        return self.mode is Mode.TEXT and self.stderr.isatty() and not is_dumb

    def result(self, data: Mapping[str, Any], lines: Iterable[str] = ()) -> None:
        """Write a command's result to stdout: ``data`` as JSON, else ``lines``.

        ``schema_version`` is added to ``data``.
        """
        if self.is_json:
            self._write_json(data)
            return
        for line in lines:
            print(self.words(line), file=self.stdout)
        self.stdout.flush()

    def say(self, line: str = "") -> None:
        """Write a line of the result to stdout (text and quiet modes)."""
        if not self.is_json:
            print(self.words(line), file=self.stdout, flush=True)

    def note(self, line: str = "") -> None:
        """Write a line about what is going on to stderr (text mode only)."""
        if self.mode is Mode.TEXT:
            print(self.words(line), file=self.stderr, flush=True)

    def warn(self, line: str) -> None:
        """Write a warning to stderr, in every mode but quiet."""
        if self.mode is not Mode.QUIET:
            label = self.paint_note(self.words(WARNING), Style.YELLOW, Style.BOLD)
            print(f"{label}{self.gap}{self.words(line)}", file=self.stderr, flush=True)

    def error(self, exc: QtoolError) -> None:
        """Report a failure: one JSON object on stdout, else ``error:`` and ``hint:`` on stderr."""
        if self.is_json:
            error = {"code": exc.code, "message": exc.message, "hint": exc.hint}
            self._write_json({"error": error})
            return
        label = self.paint_note(self.words(ERROR), Style.RED, Style.BOLD)
        print(f"{label}{self.gap}{self.words(exc.message)}", file=self.stderr)
        if exc.hint:
            hint = self.paint_note(self.words(HINT), Style.CYAN, Style.BOLD)
            print(f"\n{hint}{self.gap}{self.words(exc.hint)}", file=self.stderr)
        self.stderr.flush()

    def ask(self, question: str, *, default: bool = True) -> bool:
        """Ask a yes/no question on the terminal; without one, answer ``default`` unasked."""
        if not self.is_interactive:
            return default
        choices = "[Y/n]" if default else "[y/N]"
        print(f"{self.words(question)} {choices} ", end="", file=self.stderr, flush=True)
        answer = sys.stdin.readline()
        if not answer:
            raise KeyboardInterrupt
        answer = answer.strip().lower()
        return default if not answer else answer in ("y", "yes", "是", "好")

    def ask_text(self, question: str) -> str:
        """Ask for a line on the terminal. Raises KeyboardInterrupt when the input ends."""
        print(f"{self.words(question)} ", end="", file=self.stderr, flush=True)
        answer = sys.stdin.readline()
        if not answer:
            print(file=self.stderr, flush=True)
            raise KeyboardInterrupt
        return answer

    def status(self, text: str = "") -> None:
        """Show a passing line on a terminal, in place of the one before; none erases it."""
        if self.is_animated:
            width = shutil.get_terminal_size().columns - 1
            shown = self.words(text)[:width]
            print(f"\r\x1b[2K{shown}", end="", file=self.stderr, flush=True)

    @property
    def gap(self) -> str:
        """What follows a label: a Chinese colon has its own blank."""
        return "" if self.language is Language.CHINESE else " "

    def words(self, text: str) -> str:
        """Return ``text`` as it may be shown: a message in the language, no control characters."""
        shown = translate(text, self.language) if isinstance(text, Message) else text
        return without_controls(shown)

    def paint(self, text: str, *styles: Style) -> str:
        """Style ``text`` for stdout where colour is wanted."""
        return _painted(text, styles) if self._is_stdout_coloured else text

    def paint_note(self, text: str, *styles: Style) -> str:
        """Style ``text`` for stderr where colour is wanted."""
        return _painted(text, styles) if self._is_stderr_coloured else text

    def _write_json(self, data: Mapping[str, Any]) -> None:
        document = {"schema_version": SCHEMA_VERSION, **data}
        print(json.dumps(document, ensure_ascii=False), file=self.stdout, flush=True)


def _painted(text: str, styles: tuple[Style, ...]) -> str:
    return f"\x1b[{';'.join(styles)}m{text}\x1b[0m"
