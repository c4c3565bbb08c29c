"""The screens that nobody watches: a pipe, a program that reads JSON."""

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence

from qtool.chat.hints import OWN_COMMAND, complete_hint
from qtool.chat.request import Think
from qtool.chat.stream import Delta
from qtool.chat.turn import Turn, describe_speed, describe_turn
from qtool.engines.base import Progress, describe_loading
from qtool.errors import QtoolError, UsageError
from qtool.language.message import say
from qtool.output import SCHEMA_VERSION, Output, without_controls

_COLOUR = re.compile("\x1b\\[[0-9;]*m")

TELL_EVERY_S = 5
"""How often a line says how far the engine is, where nothing can be drawn over."""


class PlainScreen:
    """Every line of stdin is a turn, or one prompt is the only one; replies go to stdout."""

    keeps_going = False
    takes_commands = False

    def __init__(
        self,
        output: Output,
        *,
        prompts: Iterator[str],
        think: Think = Think.FOLD,
        is_streaming: bool = True,
        is_verbose: bool = False,
        own_command: str = OWN_COMMAND,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._output = output
        self._prompts = prompts
        self.think = think
        self._is_streaming = is_streaming
        self.is_verbose = is_verbose
        self._own_command = own_command
        self._clock = clock
        self._told_at: float | None = None
        self._is_at_line_start = True

    @property
    def columns(self) -> int:
        """How wide a line may be where nobody is watching."""
        return 80

    def words(self, text: str) -> str:
        """Return ``text`` in the user's language."""
        return self._output.words(text)

    def read(self, text: str = "") -> str | None:
        """Return the next prompt; there is nobody who could edit ``text``."""
        return next(self._prompts, None)

    def wait_for_engine(self, is_ready: bool, progress: Progress | None = None) -> None:
        """Say every few seconds on stderr how far the engine is."""
        now = self._clock()
        if is_ready:
            self._told_at = None
        elif self._told_at is None:
            self._told_at = now
        elif now - self._told_at >= TELL_EVERY_S:
            self._told_at = now
            self._output.note(describe_loading(progress))

    def show(self, delta: Delta) -> None:
        """Print a piece of the reply as it comes."""
        if self._is_streaming and (not delta.is_reasoning or self.think is Think.SHOW):
            self._write(delta.text)

    def finish(self, turn: Turn) -> None:
        """Print what has not been streamed and end the line."""
        if not self._is_streaming:
            self._show_whole(turn)
        self._end_line()
        if self.is_verbose:
            self.note(describe_speed(turn))

    def note(self, text: str) -> None:
        """Tell it on stderr."""
        self._output.note(f"[{self.words(text)}]")

    def tell(self, text: str) -> None:
        """Print what was asked for to stderr: stdout has the replies."""
        self._end_line()
        for line in self.words(text).splitlines():
            self._output.note(line)

    def choose(self, question: str, choices: Sequence[str]) -> str | None:
        """Return nothing: nobody can be asked."""

    def copy(self, text: str) -> None:
        """Refuse: there is no clipboard without a terminal.

        Raises:
            UsageError: always.
        """
        raise UsageError(say("there is no clipboard without a terminal"))

    def fail(self, exc: QtoolError) -> None:
        """Report a failed turn."""
        self._end_line()
        self._output.error(complete_hint(exc, self._own_command))

    def _show_whole(self, turn: Turn) -> None:
        if self.think is Think.SHOW:
            self._write(turn.reasoning)
        self._write(turn.reply)

    def _write(self, text: str) -> None:
        stream = self._output.stdout
        shown = without_controls(text) if stream.isatty() else text
        if shown:
            self._is_at_line_start = _COLOUR.sub("", shown).endswith("\n")
            print(shown, end="", file=stream, flush=True)

    def _end_line(self) -> None:
        if not self._is_at_line_start:
            print(file=self._output.stdout, flush=True)
            self._is_at_line_start = True


class JsonScreen(PlainScreen):
    """One JSON object a turn, one a line, on stdout."""

    def show(self, delta: Delta) -> None:
        """Say nothing before the reply is whole."""

    def finish(self, turn: Turn) -> None:
        """Print the turn."""
        print(
            json.dumps(
                {"schema_version": SCHEMA_VERSION, **describe_turn(turn)}, ensure_ascii=False
            ),
            file=self._output.stdout,
        )
        self._output.stdout.flush()
