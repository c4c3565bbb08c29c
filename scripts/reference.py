"""Write docs/cli.md, the reference of the command line, from the program itself.

``python scripts/reference.py`` writes it; a test fails when it is stale.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer.main

from qtool.cli import COMMANDS, app

PLACE = Path(__file__).parent.parent / "docs" / "cli.md"
HEAD = """# The command line

`python scripts/reference.py` wrote this page from the program. `qtool COMMAND --help` prints the
same; the README shows what the commands are good for.
"""


def reference() -> str:
    """Return the page."""
    group = typer.main.get_command(app)
    context: Any = group.make_context("qtool", [], resilient_parsing=True)
    return (
        "\n".join(
            [HEAD, *_options(group, context), *_commands(group, context, COMMANDS, "qtool")]
        ).rstrip()
        + "\n"
    )


def _commands(group: Any, parent: Any, names: Iterable[str], path: str) -> Iterator[str]:
    for name in names:
        command = group.get_command(parent, name)
        context = type(parent)(command, info_name=name, parent=parent)
        yield from _command(command, context, f"{path} {name}")


def _command(command: Any, context: Any, path: str) -> Iterator[str]:
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    yield from ("", f"## `{path}`", "", f"    {usage}", "")
    yield from (_plain(command.help or ""), "")
    yield from _options(command, context)
    if nested := getattr(command, "commands", None):
        yield from _commands(command, context, nested, path)


def _options(command: Any, context: Any) -> Iterator[str]:
    """Yield a table of what a command takes."""
    records = [
        (_argument(parameter, context), parameter.help or "")
        if parameter.param_type_name == "argument"
        else parameter.get_help_record(context)
        for parameter in command.params
        if not parameter.hidden and not parameter.name.endswith("_completion")
    ]
    if records:
        yield from ("| option or argument | meaning |", "| --- | --- |")
    for names, meaning in records:
        yield f"| `{_cell(names)}` | {_cell(meaning).replace('<', '&lt;')} |"


def _argument(parameter: Any, context: Any) -> str:
    return str(parameter.make_metavar(context)).removeprefix("{").removesuffix("}").upper()


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


def _plain(text: str) -> str:
    """Return text on one line."""
    return " ".join(text.split())


if __name__ == "__main__":
    PLACE.write_text(reference(), encoding="utf-8")
