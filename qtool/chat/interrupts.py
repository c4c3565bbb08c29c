"""Ctrl+C in a conversation: stops what is going on, once, and never what has to be finished.

Whoever holds Ctrl+C down sends it again and again, also while the stopped reply is being kept.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Let Ctrl+C pass without effect, but for what is ``stoppable`` within."""
    with _handling(_ignore):
        yield


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Let the first Ctrl+C raise KeyboardInterrupt, and those after it pass without effect."""

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(number, _ignore)
        raise KeyboardInterrupt

    with _handling(stop):
        yield


def _ignore(number: int, frame: FrameType | None) -> None:
    """Do nothing. Unlike ``SIG_IGN`` no child process takes this over."""


@contextlib.contextmanager
def _handling(handler: "signal._HANDLER") -> Iterator[None]:
    """Handle SIGINT so; leave it alone where the shell has it ignored, and in other threads."""
    before = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or before in (signal.SIG_IGN, None):
        yield
        return
    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
