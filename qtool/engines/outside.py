"""What the adapters of servers that are not ours have in common."""

import secrets
import sys
from collections.abc import Sequence
from typing import Any

from qtool.engines.base import EngineKind, EngineOptions, Launch
from qtool.models.info import ModelInfo
from qtool.models.local import title_of

LISTEN = ("--host", "{host}", "--port", "{port}")
"""``outside_server`` puts address and port in."""


def plan_outside(
    kind: EngineKind,
    command: Sequence[str],
    info: ModelInfo,
    options: EngineOptions,
    *,
    key_variable: str,
    ready_path: str = "/health",
) -> Launch:
    """Return how to run ``command``, the user's own arguments at its end.

    The server takes its key from the environment variable ``key_variable`` and answers
    ``ready_path`` with 200 once it is ready.
    """
    settings: dict[str, Any] = {
        "model": str(info.files[0].absolute()),
        "alias": title_of(info.path),
        "api_key": secrets.token_urlsafe(32),
        "command": [*command, *options.arguments],
        "key_variable": key_variable,
        "ready_path": ready_path,
    }
    return Launch(kind, (sys.executable, "-P", "-m", "qtool.engines.outside_server"), settings)


def flag(name: str, value: object) -> tuple[str, ...]:
    """Return an option and its value; nothing where there is no value."""
    return () if value is None else (name, str(value))
