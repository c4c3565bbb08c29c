"""The slash commands of a conversation: their names, how they are read, which one was meant."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from difflib import get_close_matches

from qtool.chat.request import Sampling
from qtool.chat.width import NARROW_COLUMNS, wrap
from qtool.errors import UsageError
from qtool.language.message import say

_COMMAND = re.compile(r"/([A-Za-z?][\w-]*)(?:\s+(.*))?", re.DOTALL)
"""A path (``/etc/passwd``) or a comment (``/* … */``) at the beginning of a line is none."""


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """One command as ``/help`` lists it. ``words`` are what its argument may begin with."""

    name: str
    argument: str
    help: str
    words: tuple[str, ...] = ()

    @property
    def usage(self) -> str:
        """How it is typed."""
        return f"/{self.name} {self.argument}".rstrip()


@dataclass(frozen=True, slots=True)
class Command:
    """A command as typed; ``argument`` is the rest of it, without blanks around."""

    name: str
    argument: str = ""


THINK_WORDS = ("show", "fold", "hide")

COMMANDS: tuple[CommandSpec, ...] = (
    CommandSpec("help", "[COMMAND]", say("list the commands, or what one does")),
    CommandSpec("exit", "", say("end the conversation (also exit, quit, bye, Ctrl+D)")),
    CommandSpec("clear", "", say("begin a new conversation; the system prompt stays")),
    CommandSpec("undo", "[N]", say("withdraw the last turn, or the last N")),
    CommandSpec("retry", "", say("ask for another reply to the last message")),
    CommandSpec("edit", "[TEXT]", say("change the last message and send it again")),
    CommandSpec("continue", "", say("let the last reply go on")),
    CommandSpec("system", "[TEXT|-]", say("show, replace or (-) remove the system prompt")),
    CommandSpec(
        "set",
        "[NAME VALUE]",
        say("show or change how tokens are drawn (VALUE -: default)"),
        tuple(field.name for field in fields(Sampling)),
    ),
    CommandSpec(
        "stats", "[on|off]", say("figures of the last reply; on: after each one"), ("on", "off")
    ),
    CommandSpec(
        "think", "[show|fold|hide]", say("the last reasoning, or what to do with it"), THINK_WORDS
    ),
    CommandSpec("file", "PATH", say("send a text file along with the next message")),
    CommandSpec("copy", "", say("put the last reply onto the clipboard")),
    CommandSpec("save", "[FILE]", say("write the conversation to a history file")),
    CommandSpec("load", "FILE|N", say("go on with a history file, or number N of /sessions")),
    CommandSpec("sessions", "[WORDS]", say("list earlier conversations (that contain WORDS)")),
    CommandSpec("template", "", say("show the prompt as the model's template renders it")),
    CommandSpec("model", "[MODEL]", say("show the model, or go on with another one")),
    CommandSpec("info", "", say("what runs, where, and how full the context is")),
)

ALIASES = {"?": "help", "quit": "exit", "bye": "exit", "new": "clear", "regenerate": "retry"}


def parse_command(text: str) -> Command | None:
    """Read ``text`` as a command; ``None`` where it is something to say to the model.

    Raises:
        UsageError: it looks like a command, and there is none of that name.
    """
    match = _COMMAND.fullmatch(text.rstrip())
    if match is None:
        return None
    typed = match[1].lower()
    name = ALIASES.get(typed, typed)
    if name not in {spec.name for spec in COMMANDS}:
        told = say("there is no command /{name}", name=match[1])
        raise UsageError(told, hint=_nearest(typed))
    return Command(name, (match[2] or "").strip())


def _nearest(name: str) -> str:
    names = [spec.name for spec in COMMANDS]
    close = get_close_matches(name, [*names, *ALIASES], n=1) or [
        known for known in names if known.startswith(name)
    ]
    meant = f"/{ALIASES.get(close[0], close[0])}" if close else say("/help lists them")
    return say("{meant}; a blank before the slash sends it to the model", meant=meant)


def describe_commands(columns: int, named: str = "", words: Callable[[str], str] = str) -> str:
    """Return what each command does, or the one ``named``, in lines of at most ``columns``.

    ``words`` puts texts into the user's language.

    Raises:
        UsageError: there is none of that name.
    """
    wanted = parse_command(f"/{named.lstrip('/')}") if named else None
    shown = [spec for spec in COMMANDS if wanted is None or spec.name == wanted.name]
    first = max(len(spec.usage) for spec in shown) + 2
    lines: list[str] = []
    for spec in shown:
        if columns < NARROW_COLUMNS:
            lines += [spec.usage, *wrap(words(spec.help), columns, indent="    ")]
        else:
            begin, *more = wrap(words(spec.help), columns, indent=" " * first)
            lines += [f"{spec.usage:{first}}{begin.lstrip()}", *more]
    return "\n".join(lines)


def complete(text: str) -> Iterator[str]:
    """Yield what may stand in place of the last word of ``text``, which begins with a slash."""
    name, has_argument, argument = text.removeprefix("/").partition(" ")
    for spec in COMMANDS:
        if not has_argument and spec.name.startswith(name.lower()):
            yield f"/{spec.name}"
        elif has_argument and spec.name == name.lower():
            words = spec.words if spec.name != "help" else (each.name for each in COMMANDS)
            yield from (word for word in words if word.startswith(argument))


def parse_count(argument: str) -> int:
    """Read the ``N`` of ``/undo N``; 1 where there is none.

    Raises:
        UsageError: it is no whole number of at least 1.
    """
    if not argument:
        return 1
    if not argument.isdecimal() or len(argument) > 6 or int(argument) < 1:
        told = say("{argument!r} is no number of turns", argument=argument)
        raise UsageError(told, hint="/undo 2")
    return int(argument)
