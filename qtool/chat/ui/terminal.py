"""The screen of a person at a terminal."""

import os
import re
import shutil
from collections.abc import Sequence
from typing import Any

from qtool.chat.clipboard import copy_sequence
from qtool.chat.editor import Editor
from qtool.chat.interrupts import stoppable
from qtool.chat.markdown import MarkdownStream
from qtool.chat.request import Think
from qtool.chat.stream import Delta
from qtool.chat.turn import Turn
from qtool.chat.ui.plain import PlainScreen
from qtool.chat.width import width_of, wrap
from qtool.chat.wrapping import ReplyWrap
from qtool.engines.base import Progress, describe_loading
from qtool.errors import QtoolError, Terminated
from qtool.language.message import say, together
from qtool.output import ERROR, Output, Style


class TerminalScreen(PlainScreen):
    """A person at a terminal: line editing, replies as they come, Ctrl+C stops a reply."""

    keeps_going = True
    takes_commands = True

    def __init__(
        self,
        output: Output,
        *,
        editor: Editor,
        markdown: MarkdownStream | None = None,
        wraps: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(output, prompts=iter(()), **options)
        self._editor = editor
        self._markdown = markdown
        self._wrap = ReplyWrap(lambda: self.columns) if wraps else None
        self._thinking_since: float | None = None
        self._status: str | None = None
        self._has_spoken = False

    @property
    def columns(self) -> int:
        """How wide the terminal is now."""
        return shutil.get_terminal_size().columns

    def read(self, text: str = "") -> str | None:
        """Let the user edit a message, an empty line above it; ``None`` on Ctrl+D."""
        if self._has_spoken:
            print(file=self._output.stdout, flush=True)
        self._has_spoken = True
        while True:
            try:
                with stoppable():
                    return self._editor.read(text)
            except EOFError:
                return None
            except Terminated:
                raise
            except KeyboardInterrupt:
                if not self._editor.given_up:
                    self.note(say("exit, quit, bye or Ctrl+D ends the conversation"))
                text = ""

    def wait_for_engine(self, is_ready: bool, progress: Progress | None = None) -> None:
        """Show that the model is loading, and take that away again."""
        if is_ready:
            self._clear_status()
        else:
            self._set_status(self.words(describe_loading(progress)))

    def show(self, delta: Delta) -> None:
        """Print a piece of the reply as far as it is clear; fold reasoning into a status."""
        if delta.is_reasoning:
            self._show_thought(delta.text)
            return
        self._end_thought()
        self._clear_status()
        if self._is_streaming:
            self._write_reply(delta.text)

    def finish(self, turn: Turn) -> None:
        """End the reply."""
        self._end_thought()
        self._clear_status()
        super().finish(turn)

    def note(self, text: str) -> None:
        """Tell it on a line of its own."""
        self._thinking_since = None
        self._clear_status()
        self._end_line()
        for line in wrap(f"[{self.words(text)}]", self.columns):
            self._output.note(self._output.paint_note(line, Style.DIM))

    def tell(self, text: str) -> None:
        """Show what was asked for."""
        self._clear_status()
        super().tell(text)

    def choose(self, question: str, choices: Sequence[str]) -> str | None:
        """Let the user type the beginning of one of ``choices``; Enter takes the first.

        Raises:
            KeyboardInterrupt: the user gives the whole turn up (Ctrl+C, Ctrl+D).
        """
        first = say("{choice} (Enter)", choice=choices[0])
        listed = together((first, *choices[1:]), ", ")
        while True:
            self.note(say("{question}: {choices}?", question=question, choices=listed))
            try:
                typed = self._editor.read().strip().lower()
            except EOFError:
                raise KeyboardInterrupt from None
            meant = [choice for choice in choices if choice.startswith(typed)]
            if not typed or len(meant) == 1:
                return meant[0]
            if meant:
                self.note(say("{typed} may be {meant}", typed=typed, meant=together(meant, " or ")))
            else:
                self.note(say("there is no {typed}", typed=typed))

    def copy(self, text: str) -> None:
        """Hand ``text`` to the terminal, which knows the clipboard. Raises as ``copy_sequence``."""
        print(copy_sequence(text, os.environ), end="", file=self._output.stdout, flush=True)
        self.note(say("copied {n} characters, if the terminal allows it (OSC 52)", n=len(text)))

    def fail(self, exc: QtoolError) -> None:
        """Report a failed turn; the conversation goes on."""
        self._thinking_since = None
        self._clear_status()
        label = f"{self.words(ERROR)}{self._output.gap}"
        exc.message = self._wrapped(f"{label}{self.words(exc.message)}").removeprefix(label)
        super().fail(exc)

    def _wrapped(self, text: str) -> str:
        """Return ``text`` with its long lines ended between words."""
        parts: list[str] = []
        for line in text.split("\n"):
            indent = line[: len(line) - len(line.lstrip())]
            fits = width_of(line) <= self.columns
            parts += [line] if fits else wrap(line, self.columns, indent=indent)
        return "\n".join(parts)

    def _show_thought(self, text: str) -> None:
        if self._thinking_since is None:
            self._thinking_since = self._clock()
        if self.think is Think.FOLD:
            self._set_status(self.words(say("thinking …")))
        elif self.think is Think.SHOW and self._is_streaming:
            self._clear_status()
            self._write_thought(text)

    def _end_thought(self) -> None:
        """Go over from reasoning to the reply."""
        if self._thinking_since is None:
            return
        duration_s = self._clock() - self._thinking_since
        if self.think is Think.FOLD:
            self.note(say("thought for {duration_s:.1f} s; /think shows it", duration_s=duration_s))
        self._thinking_since = None
        self._end_line()

    def _show_whole(self, turn: Turn) -> None:
        if self.think is Think.SHOW and turn.reasoning:
            self._write_thought(turn.reasoning)
            self._end_line()
        self._write_reply(turn.reply)

    def _write_thought(self, text: str) -> None:
        """Print reasoning dimly, line by line, so that no line end is within the style."""
        for part in re.split("(\n)", text):
            self._write_lines(self._output.paint(part, Style.DIM) if part.strip() else part)

    def _write_reply(self, text: str) -> None:
        if self._markdown is None:
            self._write_lines(text)
        else:
            self._write_lines(self._markdown.push(text.replace("\x1b", "")))

    def _write_lines(self, text: str) -> None:
        self._write(text if self._wrap is None else self._wrap.push(text))

    def _end_line(self) -> None:
        if self._markdown is not None:
            self._write_lines(self._markdown.flush())
        if self._wrap is not None:
            self._write(self._wrap.flush())
        super()._end_line()

    def _set_status(self, text: str) -> None:
        if self._output.is_animated and text != self._status:
            self._clear_status()
            painted = self._output.paint_note(text, Style.DIM)
            print(painted, end="", file=self._output.stderr, flush=True)
            self._status = text

    def _clear_status(self) -> None:
        if self._status is not None:
            print("\r\x1b[K", end="", file=self._output.stderr, flush=True)
            self._status = None
