"""``qtool config``: what is set, and by what."""

import re
import shutil
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from qtool.cli.options import Debug, Json, Quiet, make_output
from qtool.config import Config, Value

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)

Name = Annotated[str, typer.Argument(show_default=False, help="As `qtool config show` lists them.")]
Text = Annotated[
    str, typer.Argument(metavar="VALUE", show_default=False, help="Several with commas between.")
]

_MAX_VALUE_COLUMNS = 28
_WIDE_COLUMNS = 130
_INDENT = 23 * " "
_CREDENTIALS = re.compile(r"^(\w+://)[^/@]*@")  # user and password of an address


@app.callback(invoke_without_command=True)
def config(
    context: typer.Context, is_json: Json = False, is_quiet: Quiet = False, is_debug: Debug = False
) -> None:
    """Show settings and where each comes from, or write one to config.toml."""
    if context.invoked_subcommand is None:
        show(is_json, is_quiet, is_debug)


@app.command()
def show(is_json: Json = False, is_quiet: Quiet = False, is_debug: Debug = False) -> None:
    """Print every setting, its value and its origin."""
    output = make_output(is_json, is_quiet, is_debug)
    current = Config()
    values = current.values()
    data = {
        "path": str(current.path),
        "settings": [
            {"name": v.setting.name, "value": _plain(v.value), "origin": v.origin} for v in values
        ],
    }
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDE_COLUMNS
    lines = (line for value in values for line in setting_lines(value, columns))
    output.result(data, [f"# {current.path}", *lines])


@app.command()
def path(is_json: Json = False, is_quiet: Quiet = False, is_debug: Debug = False) -> None:
    """Print where config.toml is; it need not exist."""
    output = make_output(is_json, is_quiet, is_debug)
    place = Config().path
    output.result({"path": str(place), "exists": place.exists()}, [str(place)])


@app.command("set")
def set_(
    name: Name, text: Text, is_json: Json = False, is_quiet: Quiet = False, is_debug: Debug = False
) -> None:
    """Write a setting to config.toml; the rest of that file stays as it is."""
    from qtool.cli.config_file import write_setting

    output = make_output(is_json, is_quiet, is_debug)
    current = Config()
    value = write_setting(current.path, name, text)
    effective = Config().lookup(name)
    if effective.origin.startswith("$"):
        output.warn(f"{effective.origin} is set, and outdoes it")
    data = {"path": str(current.path), "name": name, "value": _plain(value)}
    output.result(data, [f"{name} = {_shown(value)} in {current.path}"])


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_CREDENTIALS.sub(r"\1***@", one) for one in value)
    return str(value) if isinstance(value, Path) else value


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        value = ", ".join(_plain(value))
    return "-" if value in (None, "") else str(value)


def setting_lines(value: Value, columns: int) -> Iterator[str]:
    """Yield a setting in columns, or where there is no room for them in lines of their own."""
    shown, setting = _shown(value.value), value.setting
    if columns >= _WIDE_COLUMNS and len(shown) <= _MAX_VALUE_COLUMNS:
        yield f"{setting.name:22} {shown:{_MAX_VALUE_COLUMNS}} {value.origin:12} {setting.help}"
        return
    yield f"{setting.name:22} {shown}"
    meaning = f"{setting.help} [{value.origin}]"
    yield from textwrap.wrap(meaning, columns, initial_indent=_INDENT, subsequent_indent=_INDENT)
