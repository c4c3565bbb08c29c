"""What the server is told at its start: one line of JSON on stdin."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, fields

MAX_SETTINGS_BYTES = 16 * 1024 * 1024
"""A chat template is the largest thing in it."""


@dataclass(frozen=True)
class Settings:
    """``None`` leaves a value to the model and the machine.

    ``host`` is the IPv4 address to listen on: this machine alone, unless another one is named.
    ``device`` is ``auto``, ``cpu``, ``cuda``, ``cuda:1`` …; ``attention`` one of transformers'
    names. ``cache_bytes`` bounds what all kept conversations together may take. ``allow_pickle``
    lets weights in that are not safetensors and may run code when they are loaded, as
    ``trust_remote_code`` lets the model's own Python in. ``prefer_int4`` loads GPTQ and AWQ on a
    processor with torch alone (see ``int4_loader``), not with the packages for them. ``stays_up``
    keeps ``/health`` answering after a failed start.
    """

    model: str
    api_key: str = field(repr=False)
    alias: str = ""
    host: str = "127.0.0.1"
    port: int = 0
    n_ctx_tokens: int | None = None
    n_threads: int | None = None
    device: str = "auto"
    dtype: str = "auto"
    attention: str = "auto"
    chat_template: str | None = None
    n_slots: int = 4
    cache_bytes: int | None = None
    max_waiting: int = 8
    trust_remote_code: bool = False
    allow_pickle: bool = False
    fuse_layers: bool = False
    prefer_int4: bool = True
    stays_up: bool = False

    @property
    def name(self) -> str:
        """What the model is called in answers."""
        return self.alias or os.path.basename(self.model.rstrip("/"))  # noqa: PTH119


def read_settings(pipe: int = 0) -> Settings:
    """Read the settings byte by byte: what follows them on the pipe belongs to the lifeline.

    Raises:
        SystemExit: there are none, or they are none to serve by.
    """
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(pipe, 1)
        if not byte or len(line) > MAX_SETTINGS_BYTES:
            raise SystemExit("no settings on stdin")
        line += byte
    return parse_settings(line)


def parse_settings(line: bytes | bytearray) -> Settings:
    """Parse one line of JSON; names that this version does not know are left out.

    Raises:
        SystemExit: it is no object, or lacks the model or the key.
    """
    try:
        given = json.loads(line)
    except ValueError as exc:
        raise SystemExit(f"settings that are no JSON: {exc}") from exc
    if not isinstance(given, dict) or not given.get("model"):
        raise SystemExit("settings without a model")
    if not given.get("api_key"):
        raise SystemExit("refusing to serve without an API key")
    known = {one.name for one in fields(Settings)}
    return Settings(**{name: value for name, value in given.items() if name in known})
