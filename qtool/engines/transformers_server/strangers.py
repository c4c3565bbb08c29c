"""Connections that have not shown the key yet: how long they may take, and who makes room."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


class Strangers:
    """The connections without a key so far, the oldest first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, None] = {}

    def add(self, connection: socket.socket) -> None:
        """Take note of one that has come."""
        with self._lock:
            self._connections[connection] = None

    def forget(self, connection: socket.socket) -> None:
        """Let one be that has shown the key, or has gone. May be called twice."""
        with self._lock:
            self._connections.pop(connection, None)

    def send_oldest_away(self) -> bool:
        """Shut the oldest one down, whose thread ends by that; tell whether there was one."""
        with self._lock:
            oldest = next(iter(self._connections), None)
            if oldest is None:
                return False
            del self._connections[oldest]
            with contextlib.suppress(OSError):
                oldest.shutdown(socket.SHUT_RDWR)
            return True


@contextlib.contextmanager
def reading_ends_after(connection: socket.socket, limit_s: float) -> Iterator[None]:
    """Let what ``connection`` sends end after ``limit_s``, however slowly it goes on sending."""

    def end() -> None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RD)

    timer = threading.Timer(limit_s, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
