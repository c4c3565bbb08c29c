"""Which of the models that are here a name means; asked on a terminal where it means several."""

import os
import shlex
from collections.abc import Sequence

from qtool.cli.models_view import list_lines, refusal
from qtool.download.holdings import Holding, Place
from qtool.errors import NotFoundError, UsageError
from qtool.models.starters import find_starter
from qtool.output import Output


def choose(name: str, found: Sequence[Holding], output: Output) -> tuple[Holding, ...]:
    """Return what ``name`` means: one model, or all that qtool has brought to a path.

    Raises:
        NotFoundError: there is nothing of that name.
        UsageError: there are several and nobody can be asked, or it is not qtool's.
    """
    matches = [one for one in found if _is_called(one, name)]
    if len(matches) > 1:
        matches = [_ask_which(name, matches, output)]
    matches = matches or [one for one in found if _is_at(one, name)]
    if not matches:
        raise _not_here(name, found)
    ours = tuple(one for one in matches if one.is_ours)
    if not ours:
        message, hint = refusal(matches[0])
        raise UsageError(message, hint=hint)
    return ours


def _is_called(holding: Holding, name: str) -> bool:
    if holding.name.casefold() == name.casefold():
        return True
    starter = find_starter(name) if holding.place is Place.STARTER else None
    return starter is not None and starter.name == holding.name


def _is_at(holding: Holding, path: str) -> bool:
    return os.path.realpath(holding.path) == os.path.realpath(path)


def _ask_which(name: str, matches: Sequence[Holding], output: Output) -> Holding:
    commands = [f"qtool models remove {shlex.quote(str(one.path))}" for one in matches]
    if not output.is_interactive:
        paths = ", ".join(str(one.path) for one in matches)
        raise UsageError(
            f"{name} is here {len(matches)} times: {paths}",
            hint=f"say which: {', or '.join(commands)}",
        )
    for number, line in enumerate(list(list_lines(matches))[: len(matches)], start=1):
        output.note(f"{number:>3}  {line}")
    answer = output.ask_text(f"Which one? [1-{len(matches)}, nothing for none]").strip()
    if not answer.isdecimal() or not 1 <= int(answer) <= len(matches):
        raise UsageError("nothing was removed", hint=commands[0])
    return matches[int(answer) - 1]


def _not_here(name: str, found: Sequence[Holding]) -> NotFoundError:
    from difflib import get_close_matches

    close = get_close_matches(name, [one.name for one in found], n=1)
    hint = f"qtool models remove {shlex.quote(close[0])}" if close else "qtool models"
    return NotFoundError(f"there is no model {name!r} here", hint=hint)
