"""``qtool serve --list`` and ``--stop``: the engines that stayed after their conversations."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtool.cli.engine_start import engines_dir
from qtool.engines.kept.keep import EngineStore
from qtool.engines.kept.record import Record
from qtool.engines.resident import resident_bytes
from qtool.errors import ExitCode, NotFoundError, QtoolError
from qtool.units import format_duration, format_size

if TYPE_CHECKING:
    from qtool.config import Config
    from qtool.output import Output


def list_engines(output: "Output", config: "Config") -> int:
    """Show the engines that stayed: model, memory, since when, and for how long without use."""
    found = [_describe(*one) for one in _store(config).all()]
    lines = [_line(one) for one in found]
    output.result({"engines": found}, lines or ["no engine stayed (qtool chat --keep-alive 10m)"])
    return ExitCode.OK


def stop_engines(model: str | None, output: "Output", config: "Config") -> int:
    """End the engine that stayed for ``model``, all of them where none is named.

    Raises:
        NotFoundError: none stayed for ``model``.
    """
    store = _store(config)
    places = _places_of(model, config) if model is not None else set()
    kept = [record for record, _ in store.all()]
    found = [one for one in kept if model in (None, one.alias) or _is_at(one, places)]
    if model is not None and not found:
        raise NotFoundError(f"no engine stayed for {model}", hint="qtool serve --list")
    for record in found:
        store.stop(record)
    names = [record.alias for record in found]
    output.result({"stopped": names}, [f"ended {name}" for name in names] or ["no engine stayed"])
    return ExitCode.OK


def _store(config: "Config") -> EngineStore:
    return EngineStore(engines_dir(config), None)


def _places_of(model: str, config: "Config") -> set[Path]:
    """Return where the model that ``model`` names lies, links followed: a file or a folder."""
    from qtool.cli.hub_model import locate_here
    from qtool.models.formats import inspect_model

    try:
        named = locate_here(model, config)
    except QtoolError:  # it was never here
        return {Path(model).resolve()}
    if named.quant is None:
        return {named.path.resolve()}
    try:
        files = inspect_model(named.path, quant=named.quant).files
    except QtoolError:  # it is not here any more
        return set()
    return {path.resolve() for path in files[:1]}


def _is_at(record: Record, places: set[Path]) -> bool:
    path = Path(record.model)
    return bool(places & {path.resolve(), path.parent.resolve()})


def _describe(record: Record, is_used: bool) -> dict[str, Any]:
    return {
        "model": record.alias,
        "path": record.model,
        "engine": record.kind,
        "pid": record.engine_pid,
        "url": f"{record.url}/v1",
        "memory_bytes": resident_bytes(record.engine_pid),
        "age_s": round(time.time() - record.began_at, 1),
        "keep_alive_s": record.keep_alive_s,
        "is_used": is_used,
    }


def _line(told: dict[str, Any]) -> str:
    memory = told["memory_bytes"]
    size = f", {format_size(memory)}" if memory else ""
    use = "in use" if told["is_used"] else "idle"
    return (
        f"{told['model']}  {told['engine']}, process {told['pid']}{size}, {use};"
        f" up {format_duration(told['age_s'])},"
        f" ends {format_duration(told['keep_alive_s'])} after its last use"
    )
