"""Offering and fetching a starter model, for the commands that take one."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from qtool.config import Config
from qtool.errors import ExitCode, IntegrityError, UsageError
from qtool.language.message import say
from qtool.models.starters import DEFAULT_NAME, Starter, find_starter, starter_path
from qtool.output import Output
from qtool.units import format_size

if TYPE_CHECKING:
    from qtool.cli.download_run import Arguments


def obtain_starter(starter: Starter, output: Output, config: Config, *, is_agreed: bool) -> Path:
    """Return where ``starter`` lies; fetch it first, with the user's consent.

    Raises:
        UsageError: it is not here and nobody can be asked.
        QtoolError: it cannot be fetched, see ``fetch_starter``.
    """
    path = starter_path(starter, config.cache_dir())
    if path.exists():
        return path
    size = format_size(starter.size_bytes)
    if not is_agreed and not output.is_interactive:
        raise UsageError(
            say(
                "no model named; the starter model {title} ({size}) is not here yet",
                title=starter.title,
                size=size,
            ),
            hint="qtool chat -y",
        )
    question = say(
        "Fetch {title} ({size}, {license})?",
        title=starter.title,
        size=size,
        license=starter.license,
    )
    if not is_agreed and not output.ask(question):
        raise UsageError(
            say("no model named"),
            hint=say(
                "qtool chat org/name fetches one from a hub (qtool find NAME lists them);"
                " one that is here: qtool chat ./model.gguf"
            ),
        )
    return _fetch(starter, output, config)


def download_starter(
    starter: Starter, arguments: "Arguments", output: Output, config: Config
) -> int:
    """Bring ``starter`` to the cache as ``qtool download`` does, or look; print where it lies.

    Raises:
        IntegrityError: it is to be checked, and is not there or wrong.
        QtoolError: it cannot be fetched, see ``fetch_starter``.
    """
    started_at = time.monotonic()
    path = starter_path(starter, config.cache_dir())
    if arguments.only_reads:
        _check(starter, path)
    elif path.exists() and (
        arguments.is_forced or (arguments.is_repair and not _is_right(starter, path))
    ):
        path.unlink()
    is_there = path.exists()
    if not is_there and not arguments.is_dry_run:
        _fetch(starter, output, config)
    status = "skipped" if is_there else "planned" if arguments.is_dry_run else "downloaded"
    data = _as_json(starter, path, status) | {"seconds": round(time.monotonic() - started_at, 3)}
    output.result(data, _lines(starter, path, status))
    return ExitCode.OK


def _check(starter: Starter, path: Path) -> None:
    hint = f"qtool download {starter.name} --repair"
    if not path.exists():
        raise IntegrityError(f"{path} is not there", hint=hint)
    if not _is_right(starter, path):
        raise IntegrityError(f"{path}: the content is wrong", hint=hint)


def _is_right(starter: Starter, path: Path) -> bool:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == starter.sha256


def _as_json(starter: Starter, path: Path, status: str) -> dict[str, object]:
    file = {
        "path": path.name,
        "size_bytes": starter.size_bytes,
        "sha256": starter.sha256,
        "status": status,
    }
    return {
        "repo": starter.hub_repo,
        "revision": starter.hub_revision,
        "commit": starter.hub_revision,
        "path": str(path.parent),
        "files": [file],
        "bytes_transferred": starter.size_bytes if status == "downloaded" else 0,
        "endpoints": {},
    }


def _lines(starter: Starter, path: Path, status: str) -> list[str]:
    size = format_size(starter.size_bytes)
    if status == "planned":
        return [f"{size:>9}  {path.name}", f"1 file, {size} to fetch into {path.parent}"]
    known = ["nothing to do: it is there already"] if status == "skipped" else []
    return [f"{path}: {size}, verified", *known, f"next: qtool chat {short_name(starter)}"]


def short_name(starter: Starter) -> str:
    """Return the name that people know a starter model by."""
    return DEFAULT_NAME if starter == find_starter(DEFAULT_NAME) else starter.name


def _fetch(starter: Starter, output: Output, config: Config) -> Path:
    from qtool.cli.download_view import make_watcher
    from qtool.download.starter import fetch_starter

    with make_watcher(output) as watcher:
        return fetch_starter(
            starter,
            config.cache_dir(),
            endpoints=config.get("download.endpoint"),
            note=output.note,
            on_event=watcher.on_event,
            progress=output.stderr if output.is_animated else None,
        )
