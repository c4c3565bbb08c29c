"""An end to waiting for a server that drips: a socket's own limit is one for each read."""

import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator
from typing import Any

from qtool.language.message import say

HEAD_TIMEOUT_S = 10
"""What the head of an answer may take from its first byte on: all of it is there then."""


class AnswerTooSlow(TimeoutError):
    """A server has begun to answer and does not come to an end."""


class PromptHead(http.client.HTTPResponse):
    """An answer that may be long in coming, but whose head comes at once when it comes.

    Raises:
        AnswerTooSlow: in ``begin``: the head was not whole by then.
    """

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self._sock = sock

    def begin(self) -> None:
        """Read the head."""
        self.fp.peek(1)
        with cut_off_after(self._sock, HEAD_TIMEOUT_S):
            super().begin()


@contextlib.contextmanager
def cut_off_after(sock: socket.socket, limit_s: float) -> Iterator[None]:
    """Let the block take ``limit_s`` at most; then the connection ``sock`` is shut down.

    An ``HTTPConnection`` lets go of its socket before the answer is read: take it beforehand.

    Raises:
        AnswerTooSlow: the block was not done by then.
    """
    is_late = threading.Event()

    def shut_down() -> None:
        is_late.set()
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(limit_s, shut_down)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, ValueError, http.client.HTTPException) as exc:
        if is_late.is_set():
            raise AnswerTooSlow(
                say("no whole answer within {limit_s:g} s", limit_s=limit_s)
            ) from exc
        raise
    finally:
        timer.cancel()
    if is_late.is_set():
        raise AnswerTooSlow(say("no whole answer within {limit_s:g} s", limit_s=limit_s))
