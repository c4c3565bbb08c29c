"""Whether a kept engine is the one that would be started now."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from qtool import __version__
from qtool.engines.base import EngineOptions, Launch

PASSING = frozenset({"api_key", "n_ctx_tokens", "port"})
"""Settings that differ from start to start: the context follows from what was asked for, which is
in the options, and from the memory that was free then."""


def fingerprint(launch: Launch, options: EngineOptions, files: Iterable[Path]) -> str:
    """Return a digest of all that makes one engine differ from another.

    The model's files and the engine's own are told by place, size and time of change, so that
    nothing has to be read.
    """
    settings = {name: value for name, value in launch.settings.items() if name not in PASSING}
    told: dict[str, Any] = {
        "qtool": __version__,
        "kind": str(launch.kind),
        "argv": launch.argv,
        "variables": dict(launch.variables),
        "settings": settings,
        "options": asdict(options),
        "files": [_identify(file) for file in files],
        "engine": [_identify(file) for file in _engine_files(launch)],
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def _identify(path: Path) -> tuple[str, int, int, int]:
    found = path.stat()
    return str(path.absolute()), found.st_ino, found.st_size, found.st_mtime_ns


def _engine_files(launch: Launch) -> list[Path]:
    """Return files that change when the engine is installed anew."""
    wheel = find_spec("xllamacpp")
    origins = [wheel.origin if wheel else None, launch.argv[0]]
    return [Path(origin) for origin in origins if origin and Path(origin).exists()]
