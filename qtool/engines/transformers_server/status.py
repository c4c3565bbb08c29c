"""How far the server is: loading, ready, or failed, and told to the parent as it changes."""

from __future__ import annotations

import json
import os
import threading
from typing import Any

from .refusal import UNAVAILABLE, Refusal

LOADING = "loading"
READY = "ok"  # llama.cpp's word
FAILED = "failed"

MIN_STEP = 0.01
"""Progress is told in steps of one percent."""


class Status:
    """Shared between the thread that loads and those that answer.

    ``report_to`` is the descriptor of the parent's pipe, one line of JSON for every change.
    """

    def __init__(self, report_to: int | None = None) -> None:
        self._report_to = report_to
        self._lock = threading.Lock()
        self._state = LOADING
        self._stage = "starting"
        self._fraction = 0.0
        self._error: str | None = None

    @property
    def is_ready(self) -> bool:
        """Tell whether the model is loaded."""
        return self._state == READY

    def progress(self, stage: str, fraction: float = 0.0) -> None:
        """Say what is going on; ``fraction`` of this stage is done."""
        with self._lock:
            if stage == self._stage and fraction < self._fraction + MIN_STEP:
                return
            self._stage, self._fraction = stage, fraction
        self._report({"progress": {"stage": stage, "fraction": round(fraction, 3)}})

    def listens(self, url: str) -> None:
        """Say where, while the model still loads: ``/health`` can be asked from now on."""
        self._report({"listening": url})

    def ready(self, url: str) -> None:
        """Say that requests are answered at ``url``."""
        self._state = READY
        self._report({"url": url})

    def failed(self, kind: str, message: str) -> None:
        """Say why the model cannot be served."""
        self._error, self._state = message, FAILED
        self._report({"error": {"type": kind, "message": message}})

    def describe(self) -> dict[str, Any]:
        """Return the body of ``/health``."""
        with self._lock:
            if self._state == LOADING:
                stage = {"stage": self._stage, "fraction": self._fraction}
                return {"status": LOADING, "progress": stage}
        return {"status": self._state, **({"error": self._error} if self._error else {})}

    def require_ready(self) -> None:
        """Raise the refusal of a request that comes too early, or after a failure."""
        if self._state == LOADING:
            raise Refusal(503, UNAVAILABLE, f"the model is loading: {self._stage}")
        if self._state == FAILED:
            raise Refusal(503, UNAVAILABLE, f"the model could not be loaded: {self._error}")

    def _report(self, line: dict[str, Any]) -> None:
        if self._report_to is not None:
            os.write(self._report_to, json.dumps(line).encode() + b"\n")
