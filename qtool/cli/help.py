"""What ``--help`` shows beyond Typer's own: plain words for values, headings, and examples."""

import re
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
    if not hasattr(command, "commands"):
        command.format_options = lambda context, formatter: _write_options(
            name, command.get_params(context), context, formatter
        )
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


def _write_options(name: str, params: Iterable[Any], context: Any, formatter: Any) -> None:
    """Write arguments, then options under their headings."""
    from qtool.cli.option_groups import OPTION_GROUPS

    heading_of = {
        option: heading
        for heading, options in OPTION_GROUPS.get(name, {}).items()
        for option in options
    }
    sections: dict[str, list[tuple[str, str]]] = {"Arguments": []}
    sections |= {heading: [] for heading in OPTION_GROUPS.get(name, {})}
    sections["Options"] = []
    for one in params:
        if (record := one.get_help_record(context)) is None:
            continue
        is_argument = one.param_type_name == "argument"
        headings = (heading_of[option] for option in one.opts if option in heading_of)
        heading = "Arguments" if is_argument else next(headings, "Options")
        sections[heading].append((record[0], _without_noise(record[1])))
    for heading, records in sections.items():
        if records:
            with formatter.section(heading):
                formatter.write_dl(records)


def _without_noise(meaning: str) -> str:
    """Return a help text without bounds that nobody comes near, and brackets in brackets."""
    meaning = re.sub(r"(-?[\d.]+)<=x<=\d{6,}", r"x>=\1", meaning)
    return re.sub(r"\[default: \(([^()]*)\)", r"[default: \1", meaning)


def _write_examples(name: str, formatter: Any) -> None:
    from qtool.cli.examples import EXAMPLES

    with formatter.section("Examples"):
        rows = [(f"qtool {line}", meaning) for line, meaning in EXAMPLES[name]]
        formatter.write_dl(rows, col_max=54)
