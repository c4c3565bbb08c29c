"""``qtool config``: what is set, and by what."""

from pathlib import Path
from typing import Any

import typer

from qtool.cli.options import Debug, Json, Quiet, make_output
from qtool.config import Config, Value

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback()
def config() -> None:
    """Show settings and where each comes from."""


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
    output.result(data, [f"# {current.path}", *(_line(value) for value in values)])


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _line(value: Value) -> str:
    shown = value.value
    if isinstance(shown, tuple):
        shown = ", ".join(shown)
    shown = "-" if shown in (None, "") else shown
    return f"{value.setting.name:22} {shown!s:28} {value.origin:12} {value.setting.help}"
