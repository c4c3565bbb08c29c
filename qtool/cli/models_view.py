"""How the models of this machine look on a terminal and in JSON."""

import shlex
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qtool.download.holdings import Holding, Place
from qtool.download.removal import Removal
from qtool.hub.repo import RepoType
from qtool.units import format_size

_MAX_LEFT_SHOWN = 3


def to_json(holding: Holding) -> dict[str, Any]:
    """Return what is known of a model; ``changed_at`` in ISO 8601, UTC."""
    changed_at = datetime.fromtimestamp(holding.changed_at, UTC).isoformat(timespec="seconds")
    return {
        "name": holding.name,
        "repo_type": holding.repo_type.value,
        "place": holding.place.value,
        "path": str(holding.path),
        "size_bytes": holding.size_bytes,
        "begun_bytes": holding.begun_bytes,
        "changed_at": changed_at,
        "removable": holding.is_ours,
    }


def list_lines(holdings: Sequence[Holding]) -> Iterator[str]:
    """Yield a line a model, then what they take together."""
    if not holdings:
        yield "no models here yet; qtool find NAME lists what hubs have, qtool download fetches it"
        return
    width = max(len(_title(one)) for one in holdings)
    for one in holdings:
        date = time.strftime("%Y-%m-%d", time.localtime(one.changed_at))
        yield (
            f"{format_size(one.size_bytes):>8}  {date}  {_title(one):<{width}}  {_where(one)}"
            + "".join(f" ({remark})" for remark in _remarks(one))
        )
    if len(holdings) > 1:
        yield f"{format_size(sum(one.size_bytes for one in holdings)):>8}  in all"
    if any(one.place is Place.CACHE and not one.is_ours for one in holdings):
        yield "what another program has fetched, qtool leaves alone: hf cache ls"


def removed_lines(removals: Sequence[tuple[Holding, Removal]]) -> Iterator[str]:
    """Yield what was removed, and what of it stays."""
    for holding, done in removals:
        name, freed = _in_one_line(holding.name), format_size(done.freed_bytes)
        yield f"removed {name} ({_where(holding)}), {freed} freed"
        if done.left:
            names = _some(done.left)
            yield f"  left alone, not as qtool fetched it, or not fetched by it: {names}"
        if done.beside:
            yield f"  left alone, no part of it: {_some(done.beside)}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MAX_LEFT_SHOWN
    shown = ", ".join(map(_in_one_line, names[:_MAX_LEFT_SHOWN]))
    return shown + f" and {more} more" * (more > 0)


def refusal(holding: Holding) -> tuple[str, str]:
    """Return why qtool does not remove what is not its own, and who can."""
    name = holding.name
    if holding.place is Place.CACHE:
        return (
            f"{name} was fetched by another program, at least in part; qtool leaves it alone",
            f"hf cache rm {shlex.quote(f'{holding.repo_type}/{name}')}",
        )
    return (
        f"{name} was there before qtool, or nothing says who fetched it; qtool leaves it alone",
        f"look at it, and remove the folder yourself: {shlex.quote(str(holding.path))}",
    )


def _title(holding: Holding) -> str:
    return _in_one_line(holding.name) + (
        " (dataset)" if holding.repo_type is RepoType.DATASET else ""
    )


def _where(holding: Holding) -> str:
    match holding.place:
        case Place.CACHE:
            return "Hugging Face cache"
        case Place.STARTER:
            return "starter model: qtool chat starter"
        case Place.REPACKED:
            return "repacked"
    return _in_one_line(short_path(holding.path))


def _in_one_line(text: str) -> str:
    """Return ``text`` with what would end the line written as Python writes it."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _remarks(holding: Holding) -> Iterator[str]:
    if holding.begun_bytes:
        yield f"{format_size(holding.begun_bytes)} of a download that has not ended"
    if not holding.is_ours:
        yield "by another program" if holding.place is Place.CACHE else "not fetched by qtool"


def short_path(path: Path) -> str:
    """Return a path as a person would write it: from here, or from home."""
    for base, sign in ((Path.cwd(), "."), (Path.home(), "~")):
        if path.is_relative_to(base):
            rest = path.relative_to(base).as_posix()
            return sign if rest == "." else f"{sign}/{rest}"
    return str(path)
