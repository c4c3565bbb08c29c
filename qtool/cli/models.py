"""``qtool models``: what is here, what room it takes, and how to be rid of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qtool.cli.options import Debug, Json, Quiet, make_output

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from qtool.download.holdings import Holding
    from qtool.download.removal import Removal
    from qtool.output import Output

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)

Names = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME…", show_default=False, help="As `qtool models` lists them, or a path."
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.callback(invoke_without_command=True)
def models(
    context: typer.Context, is_json: Json = False, is_quiet: Quiet = False, is_debug: Debug = False
) -> None:
    """List the models that are here, or remove some.

    Those of qtool's own downloads, repacked and starter models, and the Hugging Face cache.
    """
    if context.invoked_subcommand is None:
        list_(is_json, is_quiet, is_debug)


@app.command("list")
def list_(is_json: Json = False, is_quiet: Quiet = False, is_debug: Debug = False) -> None:
    """List the models that are here, the largest first.

    Each with its size, date, name and place.
    """
    from qtool.cli.models_view import list_lines, to_json

    output = make_output(is_json, is_quiet, is_debug)
    found = _find_all()
    document = {
        "models": [to_json(one) for one in found],
        "size_bytes": sum(one.size_bytes for one in found),
    }
    output.result(document, [str(one.path) for one in found] if is_quiet else list_lines(found))


@app.command()
def remove(
    names: Names,
    is_agreed: Yes = False,
    is_json: Json = False,
    is_quiet: Quiet = False,
    is_debug: Debug = False,
) -> None:
    """Remove models that qtool has fetched or made. It asks first.

    Files that you have changed or put there stay, and so does what other programs have fetched. A
    repository in the Hugging Face cache goes when no other program has put anything into it.
    """
    from qtool.cli.models_choice import choose
    from qtool.cli.models_view import removed_lines, to_json

    output = make_output(is_json, is_quiet, is_debug)
    found = _find_all()
    chosen = tuple(dict.fromkeys(one for name in names for one in choose(name, found, output)))
    _agree(chosen, names, output, is_agreed=is_agreed)
    removals = [(holding, _remove(holding)) for holding in chosen]
    document = {
        "removed": [
            {**to_json(one), "left": done.left, "beside": done.beside} for one, done in removals
        ],
        "freed_bytes": sum(done.freed_bytes for _, done in removals),
    }
    output.result(document, [] if is_quiet else removed_lines(removals))


def _find_all() -> "tuple[Holding, ...]":
    """Return everything that is here, the largest first."""
    import os

    from qtool.config import Config
    from qtool.download.holdings import find_cached, find_folders
    from qtool.download.registry import Registry
    from qtool.hub.auth import hub_cache_dir

    config = Config()
    registry = Registry(config.state_dir() / "downloads")
    found = [
        *find_folders(registry, Path.cwd()),
        *find_cached(hub_cache_dir(os.environ)),
        *_made_by_qtool(config.cache_dir()),
    ]
    return tuple(sorted(found, key=lambda one: (-one.size_bytes, one.name)))


def _made_by_qtool(cache_dir: Path) -> "list[Holding]":
    """Return starter models and repacked ones."""
    from qtool.download.holdings import Holding, Place
    from qtool.engines.repack.store import RepackStore
    from qtool.models.starters import load_starters, starter_path

    starters = [
        Holding(Place.STARTER, starter.name, path, status.st_size, status.st_mtime)
        for starter in load_starters()
        for path in [starter_path(starter, cache_dir)]
        if (status := _status_of(path)) is not None
    ]
    repacked = [
        Holding(Place.REPACKED, one.path.stem, one.path, status.st_size, status.st_mtime)
        for one in RepackStore(cache_dir).all()
        if (status := _status_of(one.path)) is not None
    ]
    return [*starters, *repacked]


def _status_of(path: Path) -> "os.stat_result | None":
    """Return what the disk says of a file, None where it cannot be read."""
    try:
        return path.stat()
    except OSError:
        return None


def _agree(
    chosen: "Sequence[Holding]", names: "Sequence[str]", output: "Output", *, is_agreed: bool
) -> None:
    """Ask whether to remove ``chosen``. Raises UsageError when nobody can be asked or says no."""
    import shlex

    from qtool.cli.models_view import list_lines
    from qtool.errors import UsageError

    if is_agreed:
        return
    hint = f"qtool models remove {shlex.join(names)} -y"
    if not output.is_interactive:
        raise UsageError("nobody can be asked whether to remove this", hint=hint)
    for line in list_lines(chosen):
        output.note(line)
    if not output.ask("Remove?", default=False):
        raise UsageError("nothing was removed", hint=hint)


def _remove(holding: "Holding") -> "Removal":
    from qtool.download.disk import disk_errors
    from qtool.download.holdings import Place
    from qtool.download.removal import Removal, remove_download
    from qtool.engines.repack.store import remove_file

    if holding.place in (Place.FOLDER, Place.CACHE):
        return remove_download(holding)
    with disk_errors(holding.path):
        remove_file(holding.path)
    return Removal(holding.size_bytes)
