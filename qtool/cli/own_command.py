"""Failures of a command, their hints completed with the arguments that the user gave."""

import functools
import sys
from collections.abc import Callable
from typing import Any

from qtool.chat.hints import complete_hint, own_command
from qtool.errors import QtoolError


def completes_hints(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let hints of ``command`` repeat what the user typed, so that they can be pasted."""

    @functools.wraps(command)
    def run(**values: Any) -> Any:
        try:
            return command(**values)
        except QtoolError as exc:
            complete_hint(exc, own_command(sys.argv[1:]))
            raise

    return run
