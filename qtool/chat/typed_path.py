"""Paths as people type them after a command: in quotes or not, with ``~``."""

from pathlib import Path

from qtool.errors import UsageError
from qtool.language.message import say


def typed_path(argument: str, *, example: str) -> Path:
    """Return the path that ``argument`` names; ``example`` shows how the command is meant.

    Raises:
        UsageError: there is none, it has a NUL in it, or begins with the home folder of nobody.
    """
    text = argument
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    if not text:
        raise UsageError(say("which file?"), hint=example)
    if "\0" in text:
        told = say("{text} is the name of no file", text=f"{text!r:.60}")
        raise UsageError(told, hint=example)
    try:
        return Path(text).expanduser()
    except RuntimeError as exc:  # ~name of nobody
        raise UsageError(f"{text}: {exc}") from exc
