from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from qtool.cli.flags import takes_flags
from qtool.cli.own_command import completes_hints
from qtool.errors import UsageError


@dataclass(frozen=True, slots=True)
class Place:
    where: Annotated[str, typer.Argument(help="Where it is.")]
    depth: Annotated[int, typer.Option("--depth", "-d", min=0)] = 1


@dataclass(frozen=True, slots=True)
class Voice:
    is_loud: Annotated[bool, typer.Option("--loud")] = False


def make_app() -> typer.Typer:
    app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)

    @app.command()
    @completes_hints
    @takes_flags
    def dig(place: Place, voice: Voice) -> None:
        """Dig a hole."""
        if place.where == "nowhere":
            raise UsageError("where?", hint="qtool chat … HERE")
        typer.echo(f"{place} {voice}")

    return app


def test_fields_of_dataclasses_are_the_commands_options():
    done = CliRunner().invoke(make_app(), ["here", "-d", "3", "--loud"])
    assert done.output == "Place(where='here', depth=3) Voice(is_loud=True)\n"
    assert "depth=1" in CliRunner().invoke(make_app(), ["here"]).output


def test_help_lists_them_in_their_order():
    text = CliRunner().invoke(make_app(), ["--help"]).output
    assert text.index("--depth") < text.index("--loud")
    assert "Dig a hole." in text
    assert "Where it is." in text


@pytest.mark.parametrize("arguments", [[], ["here", "--depth", "-1"], ["here", "--deep"]])
def test_what_does_not_fit_the_fields_is_refused(arguments: list[str]):
    assert CliRunner().invoke(make_app(), arguments).exit_code == 2


def test_hint_of_a_failure_repeats_what_was_typed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.argv", ["qtool", "dig", "no where", "--loud"])
    failure = CliRunner().invoke(make_app(), ["nowhere"]).exception
    assert isinstance(failure, UsageError)
    assert failure.hint == "qtool dig 'no where' --loud HERE"
