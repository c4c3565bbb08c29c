"""The line editor at the prompt: several lines, history across conversations, completion."""

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from qtool.chat.commands import complete
from qtool.chat.interrupts import unheard

if TYPE_CHECKING:
    from prompt_toolkit.completion import Completer
    from prompt_toolkit.history import History
    from prompt_toolkit.key_binding import KeyBindings

_log = logging.getLogger(__name__)

PROMPT = ">>> "
CONTINUATION = "... "

PATH_COMMANDS = ("/file ", "/load ", "/save ", "/model ")


class Editor(Protocol):
    """Lets a user write a message."""

    def read(self, text: str = "") -> str:
        """Return what the user wrote; ``text`` is there to begin with.

        Raises:
            EOFError: the user wants to leave (Ctrl+D).
            KeyboardInterrupt: the user gave the message up (Ctrl+C).
        """
        ...

    @property
    def given_up(self) -> str:
        """What stood at the prompt when Ctrl+C was pressed."""
        ...


def make_editor(history: Path, stdout: TextIO, environ: Mapping[str, str] = os.environ) -> Editor:
    """Return prompt_toolkit's editor, on a terminal that cannot move its cursor a plain one."""
    return PlainEditor(stdout) if environ.get("TERM") == "dumb" else LineEditor(history, stdout)


class PlainEditor:
    """Reads lines as the terminal itself edits them."""

    given_up = ""

    def __init__(self, stdout: TextIO) -> None:
        self._stdout = stdout

    def read(self, text: str = "") -> str:
        """Read one line; ``text`` is shown above it."""
        import sys

        shown = f"{text}\n{PROMPT}" if text else PROMPT
        self._stdout.write(shown)
        self._stdout.flush()
        line = sys.stdin.buffer.readline()
        if not line:
            raise EOFError
        return line.decode("utf-8", "replace").rstrip("\r\n")


class LineEditor:
    """prompt_toolkit, made and imported at the first prompt.

    Enter sends; Alt+Enter and Ctrl+J begin another line, a pasted block keeps its lines; Tab
    completes commands and paths; Ctrl+X Ctrl+E opens ``$EDITOR``.
    """

    def __init__(self, history: Path, stdout: TextIO) -> None:
        self._history = history
        self._stdout = stdout
        self._session: Any = None

    @property
    def given_up(self) -> str:
        """What stood at the prompt when Ctrl+C was pressed."""
        return "" if self._session is None else str(self._session.default_buffer.text)

    def read(self, text: str = "") -> str:
        """Let the user edit ``text``. Raises as ``Editor.read``."""
        if self._session is None:
            with unheard():  # what an interrupted import leaves behind does not work
                self._session = self._make_session()
        typed = str(self._session.prompt(PROMPT, default=text))
        return typed.encode("utf-8", "replace").decode("utf-8")  # no lone surrogates

    def _make_session(self) -> Any:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.layout.processors import TabsProcessor
        from prompt_toolkit.output.defaults import create_output
        from prompt_toolkit.shortcuts import CompleteStyle

        session: PromptSession[str] = PromptSession(
            history=_open_history(self._history),
            output=create_output(self._stdout),
            multiline=True,
            input_processors=[TabsProcessor(char1=" ", char2=" ")],
            prompt_continuation=lambda width, line, n_wraps: "" if n_wraps else CONTINUATION,
            key_bindings=_bindings(),
            completer=_completer(),
            complete_while_typing=False,
            complete_style=CompleteStyle.READLINE_LIKE,
            reserve_space_for_menu=0,
            enable_suspend=True,
            enable_open_in_editor=True,
        )
        # A terminal that does not tell its cursor's position does as well: no warning in the chat.
        session.app.renderer.cpr_not_supported_callback = None
        return session


def _open_history(path: Path) -> "History":
    """Return the prompts of earlier conversations; where they cannot be kept, those of this one."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    class KeptHistory(FileHistory):
        """Does without the disk where it is full: what was said is in the journal."""

        def store_string(self, string: str) -> None:
            """Append ``string`` to the file."""
            try:
                super().store_string(string)
            except OSError as exc:
                _log.debug("the prompt is not kept: %s", exc)

    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        with path.open("ab"), path.open("rb"):
            return KeptHistory(str(path))
    except OSError as exc:
        _log.debug("prompts are not kept: %s", exc)
        return InMemoryHistory()


def _bindings() -> "KeyBindings":
    from prompt_toolkit.key_binding import KeyBindings

    bindings = KeyBindings()

    @bindings.add("enter")
    def _(event: Any) -> None:
        event.current_buffer.validate_and_handle()

    @bindings.add("escape", "enter")
    @bindings.add("c-j")
    def _(event: Any) -> None:
        event.current_buffer.insert_text("\n")

    return bindings


def _completer() -> "Completer":
    from prompt_toolkit.completion import Completer, Completion, PathCompleter
    from prompt_toolkit.document import Document

    class CommandCompleter(Completer):
        """Names of commands, their words, and paths where a command takes one."""

        def __init__(self) -> None:
            self._paths = PathCompleter(expanduser=True)

        def get_completions(self, document: Document, event: Any) -> Iterable[Completion]:
            """Yield what may stand where the cursor is."""
            text = document.text_before_cursor
            if not text.startswith("/") or "\n" in text:
                return
            if text.startswith(PATH_COMMANDS):
                path = text.partition(" ")[2]
                yield from self._paths.get_completions(Document(path, len(path)), event)
                return
            start = -len(text.rpartition(" ")[2])
            yield from (Completion(word, start) for word in complete(text))

    return CommandCompleter()
