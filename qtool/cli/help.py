"""What ``--help`` shows beyond Typer's own: plain words for values, and examples."""

from collections.abc import Iterable
from typing import Any

_VALUES = {
    "str": "TEXT",
    "int": "N",
    "int range": "N",
    "float": "X",
    "float range": "X",
    "path": "FILE",
    "directory": "DIR",
}
"""What stands for a value of a type; an option's own ``metavar`` outdoes it."""


def dress(command: Any, name: str) -> Any:
    """Return the Typer command ``name`` with a help that a person can use. Changes ``command``."""
    # It is the program that is completed, not each of its commands.
    command.params = [one for one in command.params if not one.name.endswith("_completion")]
    for one in (command, *getattr(command, "commands", {}).values()):
        _name_values(one.params)
        _unbrace(one)
    command.format_epilog = lambda context, formatter: _write_examples(name, formatter)
    return command


def _name_values(params: Iterable[Any]) -> None:
    for one in params:
        if one.metavar is not None:
            continue
        if one.param_type_name == "argument":
            one.metavar = one.name.upper()
        elif not one.is_flag:
            one.metavar = _VALUES.get(one.type.name)


def _unbrace(command: Any) -> None:
    """Let the usage name what is required as it is: ``MODEL``, not ``{MODEL}``."""
    pieces = command.collect_usage_pieces
    command.collect_usage_pieces = lambda context: [one.strip("{}") for one in pieces(context)]


def _write_examples(name: str, formatter: Any) -> None:
    from qtool.cli.examples import EXAMPLES

    with formatter.section("Examples"):
        rows = [(f"qtool {line}", meaning) for line, meaning in EXAMPLES[name]]
        formatter.write_dl(rows, col_max=54)
