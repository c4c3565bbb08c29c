"""HTTP/1.1 on a raw socket: requests in, heads and bodies out.

Hand-written because the hub shares two cores with the program under test: ``http.server`` parses
with the email package and copies every body.
"""

import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import unquote, urlsplit

from tests.hub.content import Extent

MAX_HEAD_BYTES = 65536
RECEIVE_BYTES = 65536
PACE_SECONDS = 0.01
MAX_CREDIT_SECONDS = 0.1
IDLE_CREDIT_SECONDS = 0.002


class Disconnect(Exception):
    """The connection is over, by the client's will or by a fault."""


@dataclass(frozen=True, slots=True)
class Request:
    """One parsed request. Header names are in lower case; ``path`` is still percent-encoded."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        pairs = (part.partition("=") for part in urlsplit(self.target).query.split("&") if part)
        return {unquote(name): unquote(value.replace("+", " ")) for name, _, value in pairs}

    @property
    def wants_close(self) -> bool:
        return self.headers.get("connection", "").lower() == "close"


@dataclass(slots=True)
class Pacer:
    """Keeps one connection at a rate: every byte is due at start + position / rate.

    Sending waits until the last byte of a piece is due, so a response is never early. A sender that
    the scheduler made late may catch up, within limits.
    """

    rate_bytes_per_s: float | None
    stopping: threading.Event
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _due: float = field(default=0.0)

    @property
    def piece_bytes(self) -> int:
        """How much to send at once: about 10 ms worth."""
        if self.rate_bytes_per_s is None:
            return 1 << 20
        return max(512, min(1 << 20, int(self.rate_bytes_per_s * PACE_SECONDS)))

    def begin(self) -> None:
        """Start a response: the time the connection was idle is lost."""
        self._due = max(self._due, self.clock() - IDLE_CREDIT_SECONDS)

    def pay(self, count: int) -> None:
        if self.rate_bytes_per_s is None:
            return
        now = self.clock()
        self._due = max(self._due + count / self.rate_bytes_per_s, now - MAX_CREDIT_SECONDS)
        self.wait(self._due - now)

    def wait(self, seconds: float) -> None:
        """Sleep, in a way that a closing hub can cut short."""
        if seconds <= 0:
            return
        if seconds < 0.05:
            self.sleep(seconds)  # cheaper and more exact than waiting on an Event
        elif self.stopping.wait(seconds):
            raise Disconnect


class Connection:
    """One accepted connection. All methods raise Disconnect when the other side is gone."""

    def __init__(self, sock: socket.socket, pacer: Pacer) -> None:
        self.socket = sock
        self.pacer = pacer
        self.is_tls = isinstance(sock, ssl.SSLSocket)
        self._received = bytearray()

    def read_request(self) -> Request | None:
        """Wait for the next request; None when the client is done."""
        while (end := self._received.find(b"\r\n\r\n")) < 0:
            if len(self._received) > MAX_HEAD_BYTES or not self._receive():
                return None
        head = bytes(self._received[:end]).decode("latin-1")
        del self._received[: end + 4]
        request_line, *lines = head.split("\r\n")
        try:
            method, target, _version = request_line.split(" ")
        except ValueError:
            return None
        pairs = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        body = self._read_body(int(headers.get("content-length") or 0))
        return Request(method, target, headers, body)

    def _read_body(self, length: int) -> bytes:
        while len(self._received) < length:
            if not self._receive():
                raise Disconnect
        body = bytes(self._received[:length])
        del self._received[:length]
        return body

    def _receive(self) -> bool:
        try:
            data = self.socket.recv(RECEIVE_BYTES)
        except OSError as exc:
            raise Disconnect from exc
        self._received += data
        return bool(data)

    def send(self, data: bytes | memoryview) -> None:
        """Send everything, without pacing: for heads."""
        try:
            self.socket.sendall(data)
        except OSError as exc:
            raise Disconnect from exc

    def send_some(self, view: memoryview) -> int:
        try:
            return self.socket.send(view)
        except OSError as exc:
            raise Disconnect from exc

    def send_extent(self, extent: Extent) -> int:
        """Let the kernel copy from file to socket. Plain connections only."""
        try:
            sent = os.sendfile(self.socket.fileno(), extent.fd, extent.offset, extent.length)
        except OSError as exc:
            raise Disconnect from exc
        if sent == 0:
            raise EOFError("file behind the hub is shorter than announced")
        return sent

    def stall(self) -> None:
        """Send nothing more; return when the client has closed or the hub ends."""
        try:
            while self.socket.recv(RECEIVE_BYTES):
                pass
        except OSError:
            pass
        raise Disconnect

    def reset(self) -> None:
        """End with RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise Disconnect


def format_head(status: int, headers: list[tuple[str, str]]) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Read a Range header with a single range against a size.

    Returns (start, stop), or None when the header is absent or not understood, which means the
    whole file (RFC 9110, 14.2). Raises ValueError for a range that cannot be satisfied.
    """
    unit, _, spec = (header or "").partition("=")
    first, dash, last = spec.strip().partition("-")
    if unit.strip().lower() != "bytes" or not dash or "," in spec:
        return None
    if not (first or last) or not (first + last).isascii() or not (first + last).isdigit():
        return None
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1 if last else size)
        if last and int(last) < start:
            return None
    if start >= stop:
        raise ValueError(f"range {header!r} lies outside {size} bytes")
    return start, stop
