"""A time limit for probes that read files: a network folder that is gone never answers."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from qtool.doctor.snapshot import UNKNOWN, Unknown

T = TypeVar("T")


class LimitedProbe(Generic[T]):
    """A function that runs in a thread of its own; several run side by side.

    One that does not come back is left behind: the thread ends with the program.
    """

    def __init__(self, name: str, look: Callable[[], T]) -> None:
        """Start looking; ``name`` is the snapshot's field that it is for."""
        self.name = name
        self._look = look
        self._found: T | Unknown = UNKNOWN
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._run, name=f"probe {name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._found = self._look()
        except OSError as exc:
            self._failure = f"it cannot be read: {exc.strerror or exc}"

    def result(self, timeout_s: float, reasons: dict[str, str]) -> T | Unknown:
        """Return what was found; ``UNKNOWN`` with an entry in ``reasons`` if nothing could be."""
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._failure = f"no answer within {timeout_s:g} s"
        if self._failure is None:
            return self._found
        reasons[self.name] = self._failure
        return UNKNOWN
