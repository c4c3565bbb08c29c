"""Offering and fetching a starter model, for the commands that take one."""

import time
from pathlib import Path

from qtool.config import Config
from qtool.errors import ExitCode, UsageError
from qtool.language.message import say
from qtool.models.starters import Starter, starter_path
from qtool.output import Output
from qtool.units import format_size


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


def download_starter(starter: Starter, output: Output, config: Config) -> int:
    """Bring ``starter`` to the cache as ``qtool download`` does; print where it lies."""
    started_at = time.monotonic()
    path = starter_path(starter, config.cache_dir())
    is_there = path.exists()
    if not is_there:
        _fetch(starter, output, config)
    file = {
        "path": path.name,
        "size_bytes": starter.size_bytes,
        "sha256": starter.sha256,
        "status": "skipped" if is_there else "downloaded",
    }
    data = {
        "repo": starter.hub_repo,
        "revision": starter.hub_revision,
        "commit": starter.hub_revision,
        "path": str(path.parent),
        "files": [file],
        "bytes_transferred": 0 if is_there else starter.size_bytes,
        "seconds": round(time.monotonic() - started_at, 3),
        "endpoints": {},
    }
    size = format_size(starter.size_bytes)
    lines = [f"{path}: {size}, verified", f"next: qtool chat {starter.name}"]
    if is_there:
        lines.insert(1, "nothing to do: it is there already")
    output.result(data, lines)
    return ExitCode.OK


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
