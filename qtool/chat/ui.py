"""The screens of a conversation: a terminal, a pipe, a program that reads JSON.

Besides ``qtool/output.py`` this is the only module that prints.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from qtool.chat.conversation import Turn
from qtool.chat.request import Think
from qtool.chat.stream import Delta
from qtool.errors import QtoolError, Terminated, UsageError
from qtool.output import SCHEMA_VERSION, Output, Style, without_controls

PROMPT = ">>> "


class PlainScreen:
    """Every line of stdin is a turn, or one prompt is the only one; replies go to stdout."""

    keeps_going = False

    def __init__(
        self,
        output: Output,
        *,
        prompts: Iterator[str],
        think: Think = Think.FOLD,
        is_streaming: bool = True,
        is_verbose: bool = False,
    ) -> None:
        self._output = output
        self._prompts = prompts
        self._think = think
        self._is_streaming = is_streaming
        self._is_verbose = is_verbose
        self._is_at_line_start = True

    def read(self) -> str | None:
        """Return the next prompt."""
        return next(self._prompts, None)

    def wait_for_engine(self, is_ready: bool) -> None:
        """Say nothing: nobody is watching."""

    def show(self, delta: Delta) -> None:
        """Print a piece of the reply as it comes."""
        if self._is_streaming and (not delta.is_reasoning or self._think is Think.SHOW):
            self._write(delta.text)

    def finish(self, turn: Turn) -> None:
        """Print what has not been streamed and end the line."""
        if not self._is_streaming:
            shown = turn.reasoning if self._think is Think.SHOW else ""
            self._write(shown + turn.reply)
        self._end_line()
        if self._is_verbose:
            self.note(describe_speed(turn))

    def note(self, text: str) -> None:
        """Tell it on stderr."""
        self._output.note(f"[{text}]")

    def fail(self, exc: QtoolError) -> None:
        """Report a failed turn."""
        self._end_line()
        self._output.error(exc)

    def _write(self, text: str) -> None:
        stream = self._output.stdout
        shown = without_controls(text) if stream.isatty() else text
        if shown:
            self._is_at_line_start = shown.endswith("\n")
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
        print(json.dumps(describe_turn(turn), ensure_ascii=False), file=self._output.stdout)
        self._output.stdout.flush()


class TerminalScreen(PlainScreen):
    """A person at a terminal: line editing, replies as they come, Ctrl+C stops a reply."""

    keeps_going = True

    def __init__(self, output: Output, *, history: Path, **options: Any) -> None:
        super().__init__(output, prompts=iter(()), **options)
        self._history = history
        self._session: Any = None
        self._has_status = False
        self._is_thinking = False
        self._has_spoken = False

    def read(self) -> str | None:
        """Let the user edit a line, an empty one above it; ``None`` on Ctrl+D."""
        if self._has_spoken:
            print(file=self._output.stdout, flush=True)
        self._has_spoken = True
        while True:
            try:
                text = str(self._prompt_session().prompt(PROMPT))
                return text.encode("utf-8", "replace").decode("utf-8")  # no lone surrogates
            except EOFError:
                return None
            except Terminated:
                raise
            except KeyboardInterrupt:
                self.note("exit, quit, bye or Ctrl+D ends the conversation")

    def wait_for_engine(self, is_ready: bool) -> None:
        """Show that the model is loading, and take that away again."""
        if is_ready:
            self._clear_status()
        else:
            self._set_status("loading the model …")

    def show(self, delta: Delta) -> None:
        """Print a piece of the reply; fold reasoning into a status."""
        if delta.is_reasoning and self._think is Think.FOLD:
            self._set_status("thinking …")
            return
        self._clear_status()
        if delta.is_reasoning is not self._is_thinking:
            self._is_thinking = delta.is_reasoning
            self._end_line()
        super().show(delta)

    def finish(self, turn: Turn) -> None:
        """End the reply."""
        self._clear_status()
        self._is_thinking = False
        super().finish(turn)

    def note(self, text: str) -> None:
        """Tell it on a line of its own."""
        self._clear_status()
        self._end_line()
        self._output.note(self._output.paint_note(f"[{text}]", Style.DIM))

    def fail(self, exc: QtoolError) -> None:
        """Report a failed turn; the conversation goes on."""
        self._clear_status()
        super().fail(exc)

    def _prompt_session(self) -> Any:
        if self._session is None:
            from prompt_toolkit import PromptSession
            from prompt_toolkit.history import FileHistory
            from prompt_toolkit.output.defaults import create_output

            self._history.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._history.touch(mode=0o600)
            self._session = PromptSession(
                history=FileHistory(str(self._history)), output=create_output(self._output.stdout)
            )
        return self._session

    def _set_status(self, text: str) -> None:
        if self._output.is_animated and not self._has_status:
            painted = self._output.paint_note(text, Style.DIM)
            print(painted, end="", file=self._output.stderr, flush=True)
            self._has_status = True

    def _clear_status(self) -> None:
        if self._has_status:
            print("\r\x1b[K", end="", file=self._output.stderr, flush=True)
            self._has_status = False


def describe_turn(turn: Turn) -> dict[str, Any]:
    """Return ``turn`` in the shape of ``qtool chat --json``."""
    return {
        "schema_version": SCHEMA_VERSION,
        "reply": turn.reply,
        "reasoning": turn.reasoning,
        "finish_reason": turn.end.finish_reason,
        "engine": turn.engine,
        "model": turn.model,
        "usage": {
            "prompt_tokens": turn.end.prompt_tokens,
            "completion_tokens": turn.end.completion_tokens,
            "cached_tokens": turn.end.cached_tokens,
        },
        "timings": {
            "first_token_s": turn.first_token_s,
            "decode_tokens_per_s": turn.end.decode_tokens_per_s,
            "total_s": turn.total_s,
        },
    }


def describe_speed(turn: Turn) -> str:
    """Return the figures of ``turn`` on one line."""
    parts = [f"{turn.end.completion_tokens or 0} tokens in {turn.total_s:.1f} s"]
    if turn.first_token_s is not None:
        parts.append(f"first after {turn.first_token_s:.2f} s")
    if turn.end.decode_tokens_per_s:
        parts.append(f"{turn.end.decode_tokens_per_s:.1f} tokens/s")
    if turn.end.cached_tokens is not None:
        parts.append(f"{turn.end.cached_tokens} of {turn.end.prompt_tokens} prompt tokens cached")
    return ", ".join(parts)


def read_lines(stream: BinaryIO) -> Iterator[str]:
    """Yield the lines of ``stream`` as they come, without their ends.

    Raises:
        UsageError: a line is not UTF-8.
    """
    for line in iter(stream.readline, b""):
        yield _decode(line).rstrip("\r\n")


def read_prompt(prompt: str, stream: BinaryIO | None) -> str:
    """Return ``prompt`` followed by what ``stream`` holds, if anything.

    Raises:
        UsageError: either is not UTF-8.
    """
    piped = _decode(stream.read()).strip() if stream is not None else ""
    own = _decode(prompt.encode("utf-8", "surrogateescape"))
    return f"{own}\n\n{piped}" if piped else own


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise UsageError(
            f"the input is not UTF-8: byte 0x{data[exc.start]:02x} at {exc.start}",
            hint="iconv -f GB18030 -t UTF-8 INPUT | qtool chat …",
        ) from exc
