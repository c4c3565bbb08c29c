"""Offering and fetching a starter model, for the commands that take one."""

from pathlib import Path

from qtool.config import Config
from qtool.errors import UsageError
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
            f"no model named; the starter model {starter.title} ({size}) is not here yet",
            hint="qtool chat -y",
        )
    if not is_agreed and not output.ask(f"Fetch {starter.title} ({size}, {starter.license})?"):
        raise UsageError("no model named", hint="qtool chat ./model.gguf")
    from qtool.download.starter import fetch_starter

    return fetch_starter(
        starter,
        config.cache_dir(),
        endpoints=config.get("download.endpoint"),
        note=output.note,
    )
