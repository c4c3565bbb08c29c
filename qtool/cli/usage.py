"""What Typer refuses about a command line, in the words of the program."""

import shlex
from collections.abc import Iterable
from typing import Any

from typer._click.exceptions import BadParameter, MissingParameter, NoSuchOption

from qtool.errors import UsageError


def usage_error(exc: Any) -> UsageError:
    """Return a usage error of Typer's as one of ours. Its hint is a command to paste."""
    context = exc.ctx
    path = context.command_path if context is not None else "qtool"
    message, hint = exc.format_message(), f"{path} --help"
    match exc:
        case NoSuchOption():
            close = sorted(exc.possibilities or ())
            message = f"there is no option {exc.option_name}"
            message += f"; did you mean {' or '.join(close)}?" if close else ""
        case MissingParameter() if exc.param is not None:
            message = f"{path} needs {exc.param.make_metavar(context).strip('{}')}"
            hint = _first_example(path) or hint
        case BadParameter() if exc.param is not None:
            name = exc.param.metavar if not exc.param.opts[0].startswith("-") else None
            options = name or "/".join(exc.param.opts)
            message = f"{options}: {exc.message.rstrip('.')}"
        case _ if message.startswith("No such command "):
            word = message.removeprefix("No such command ").partition(". Did")[0].strip("'.")
            message = f"there is no command {word!r}"
            hint = _meant(word, path, context.command.commands) or hint
    return UsageError(message, hint=hint)


def _first_example(path: str) -> str | None:
    """Return how a command is used, None where nothing tells."""
    from qtool.cli.examples import EXAMPLES

    words = shlex.split(path)[1:]
    lines = [line for line, _ in EXAMPLES.get(words[0], ())] if words else []
    fitting = [line for line in lines if line.startswith(f"{' '.join(words)} ")]
    return f"qtool {fitting[0]}   # {path} --help lists the options" if fitting else None


def _meant(word: str, path: str, commands: Iterable[str]) -> str | None:
    """Return the command of a group that ``word`` stands for, None where nothing tells."""
    from difflib import get_close_matches

    from qtool.cli import OTHER_WORDS

    here = f"{path} {word}"
    other = f"qtool {OTHER_WORDS.get(word, '')}"
    if other.startswith(f"{path} "):
        return other
    close = get_close_matches(here, [f"{path} {one}" for one in commands], n=1, cutoff=0.8)
    return f"{close[0]} --help" if close else None
