"""``qtool env``: tested sets of packages, each in an environment of its own."""

from typing import TYPE_CHECKING, Annotated

import typer

from qtool.cli.language import choose_language
from qtool.cli.options import Debug, Json, Quiet, make_output
from qtool.envs.installers import InstallerKind
from qtool.language.message import say
from qtool.output import Output

if TYPE_CHECKING:
    from qtool.envs.environment import Environment

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)

Name = Annotated[str, typer.Argument(help="The environment's name.")]


@app.callback()
def env() -> None:
    """Make, show and remove environments with tested sets of packages."""


@app.command()
def create(
    recipe: Annotated[str, typer.Argument(help="What for: see `qtool env list`.")],
    name: Annotated[str | None, typer.Option(help="Call it this (default: the recipe).")] = None,
    python: Annotated[
        str | None, typer.Option(help="Interpreter to make it with (default: one that fits).")
    ] = None,
    installer: Annotated[
        InstallerKind | None, typer.Option(help="Default: uv if it is here, else pip.")
    ] = None,
    is_replacing: Annotated[
        bool, typer.Option("--force", help="Make it anew; the old one stays until it works.")
    ] = False,
    is_json: Json = False,
    is_quiet: Quiet = False,
    is_debug: Debug = False,
) -> None:
    """Make an environment, and keep it only if it proves to work.

    Packages come from where pip or uv are configured to look. Interrupted at any moment it leaves
    nothing behind that is ever used.
    """
    from qtool.cli.env_create import create_environment
    from qtool.cli.env_view import created_lines

    output = _make_output(is_json, is_quiet, is_debug)
    environment, is_new = create_environment(
        output, recipe, name=name, python=python, installer=installer, is_replacing=is_replacing
    )
    document = {"created": is_new, "environment": environment.to_json()}
    lines = created_lines(environment, is_new=is_new)
    output.result(document, [str(environment.python)] if is_quiet else lines)


@app.command("list")
def list_(is_json: Json = False, is_quiet: Quiet = False, is_debug: Debug = False) -> None:
    """List the environments that exist and the recipes for others."""
    from qtool.cli.env_view import list_lines
    from qtool.envs.recipes import load_recipes
    from qtool.envs.store import Store

    output = _make_output(is_json, is_quiet, is_debug)
    environments, recipes = list(Store().all()), load_recipes()
    document = {
        "environments": [one.to_json() for one in environments],
        "recipes": [
            {"name": one.name, "summary": one.summary, "serves": list(one.serves)}
            for one in recipes.values()
        ],
    }
    output.result(document, list_lines(environments, recipes))


@app.command()
def show(
    name: Name, is_json: Json = False, is_quiet: Quiet = False, is_debug: Debug = False
) -> None:
    """Show one environment: its Python, what is in it, what was proven."""
    from qtool.cli.env_view import show_lines
    from qtool.envs.store import Store

    output = _make_output(is_json, is_quiet, is_debug)
    environment: Environment = Store().read(name)
    output.result({"environment": environment.to_json()}, show_lines(environment))


@app.command()
def remove(
    name: Name, is_json: Json = False, is_quiet: Quiet = False, is_debug: Debug = False
) -> None:
    """Delete an environment."""
    from qtool.envs.store import Store

    output = _make_output(is_json, is_quiet, is_debug)
    Store().remove(name)
    output.result({"removed": name}, [say("removed {name}", name=name)])


def _make_output(is_json: bool, is_quiet: bool, is_debug: bool) -> Output:
    """Return the voice for these flags, in the user's language."""
    output = make_output(is_json, is_quiet, is_debug)
    output.language = choose_language(None)
    return output
