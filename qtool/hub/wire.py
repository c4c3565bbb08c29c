"""HTTP/1.1 on a socket: a request out, the head of its response in, then the body piece by piece.

What a downloader needs of the protocol and no more (RFC 9112): GET without a body, lengths, chunks,
kept connections. ``http.client`` would cost 20 ms at start-up and half a millisecond a response,
most of it in parsing headers as if they were an e-mail's.
"""

import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

_RECEIVE_BYTES = 64 * 1024
MAX_HEAD_BYTES = 64 * 1024
# ``fill`` ends when bytes had to be waited for, as then no more are at hand, or after FILL_S.
WAITED_S = 0.003
FILL_S = 0.01
# For the whole head, however steadily it trickles in.
HEAD_TIMEOUT_S = 30.0


class ProtocolError(Exception):
    """The other side does not speak HTTP."""


class HeaderFields:
    """Response headers; the case of their names does not matter."""

    def __init__(self, lines: list[str]) -> None:
        self._values: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip():
                raise ProtocolError(f"not a header: {line[:80]!r}")
            key, value = name.lower(), value.strip()
            self._values[key] = f"{self._values[key]}, {value}" if key in self._values else value

    def get(self, name: str, /) -> str | None:
        """Return a header's value, None without one; several of a name are joined by commas."""
        return self._values.get(name.lower())


@dataclass(frozen=True, slots=True)
class Head:
    """A response before its body. ``length`` is None when only the body's end tells it."""

    status: int
    headers: HeaderFields
    length: int | None
    is_chunked: bool
    is_kept: bool


class Wire:
    """One connection. Raises OSError as the socket does, ProtocolError for what is not HTTP."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._ahead = b""  # received with a head; unread from _at on
        self._at = 0
        self._head_due_s: float | None = None
        self._failure: OSError | None = None
        self._receive_into = _receiver(sock)

    def send(self, method: str, target: str, headers: Mapping[str, str]) -> None:
        """Send a request without a body."""
        lines = [f"{method} {_escape(target)} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if any("\n" in line or "\r" in line for line in lines):
            raise ProtocolError("a line break in a request's header")
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    def read_head(self) -> Head:
        """Receive up to the end of the headers; interim responses (1xx) are passed over.

        Raises TimeoutError when that takes longer than HEAD_TIMEOUT_S in all.
        """
        self._head_due_s = time.monotonic() + HEAD_TIMEOUT_S
        while True:
            self._check_head_is_in_time()
            head = parse_head(self._read_until_blank_line())
            if not 100 <= head.status < 200:
                self._head_due_s = None
                return head

    def _check_head_is_in_time(self) -> None:
        if self._head_due_s is not None and time.monotonic() > self._head_due_s:
            raise TimeoutError(f"the headers were not complete after {HEAD_TIMEOUT_S:.0f} s")

    def read_into(self, buffer: memoryview) -> int:
        """Receive into the buffer; return how many bytes, 0 when the other side has closed."""
        if self._failure is not None:
            raise self._failure
        if self._at == len(self._ahead):
            return self._receive_into(buffer)
        piece = self._ahead[self._at : self._at + len(buffer)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def fill(self, buffer: memoryview, enough: int) -> int:
        """Receive what is at hand, up to ``enough`` bytes or a little more; return how many.

        0 when the other side has closed. What fails after the first bytes is raised by the next
        call: they are good. A record of TLS is 16 KiB at most, so this is the innermost loop.
        """
        began_s = asked_s = time.monotonic()
        filled = count = self.read_into(buffer)
        receive_into, enough = self._receive_into, min(enough, len(buffer))
        while count and filled < enough:
            now = time.monotonic()
            if now - asked_s > WAITED_S or now - began_s > FILL_S:
                break
            asked_s = now
            try:
                count = receive_into(buffer[filled:])
            except OSError as exc:
                self._failure = exc
                break
            filled += count
        return filled

    def read_line(self) -> bytes:
        """Receive a line, returned without its end."""
        while (end := self._ahead.find(b"\n", self._at)) < 0:
            self._receive()
        line, self._at = self._ahead[self._at : end], end + 1
        return line.rstrip(b"\r")

    def _read_until_blank_line(self) -> list[str]:
        lines: list[str] = []
        n_bytes = 0
        while line := self.read_line():
            lines.append(line.decode("latin-1"))
            n_bytes += len(line)
            if n_bytes > MAX_HEAD_BYTES:
                raise ProtocolError(f"headers of more than {MAX_HEAD_BYTES} bytes")
        return lines

    def _receive(self) -> None:
        if len(self._ahead) - self._at > MAX_HEAD_BYTES:
            raise ProtocolError(f"a line of more than {MAX_HEAD_BYTES} bytes")
        self._check_head_is_in_time()
        data = self.socket.recv(_RECEIVE_BYTES)
        if not data:
            raise ConnectionResetError("the server closed the connection without an answer")
        self._ahead, self._at = self._ahead[self._at :] + data, 0


def _receiver(sock: socket.socket) -> Callable[[memoryview], int]:
    """Return what receives into a buffer, with as little of Python around it as there can be.

    ``SSLSocket.recv_into`` is 3 µs for a record around ``read``, of 7 in all.
    """
    read = getattr(sock, "read", None)
    return sock.recv_into if read is None else partial(read, 0)


class Chunks:
    """A body in chunks (RFC 9112, 7.1), trailers thrown away."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._left_bytes = 0
        self.is_complete = False

    def read_into(self, buffer: memoryview) -> int:
        """Receive into the buffer; return how many bytes, 0 after the last chunk."""
        if self.is_complete or not buffer:
            return 0
        if not self._left_bytes and not self._begin_chunk():
            return 0
        count = self._wire.read_into(buffer[: self._left_bytes])
        if not count:
            raise ConnectionResetError("the server closed the connection within a chunk")
        self._left_bytes -= count
        if not self._left_bytes and self._wire.read_line():
            raise ProtocolError("a chunk longer than its size")
        return count

    def _begin_chunk(self) -> bool:
        text = self._wire.read_line().partition(b";")[0].strip()
        try:
            self._left_bytes = int(text, 16)
        except ValueError as exc:
            raise ProtocolError(f"not the size of a chunk: {text[:40]!r}") from exc
        if self._left_bytes < 0:
            raise ProtocolError(f"not the size of a chunk: {text[:40]!r}")
        if self._left_bytes:
            return True
        while self._wire.read_line():
            pass
        self.is_complete = True
        return False


def parse_head(lines: list[str]) -> Head:
    """Return a response's head from its lines. Raises ProtocolError."""
    status_line, *header_lines = lines or [""]
    version, _, rest = status_line.partition(" ")
    code = rest[:3]
    if version not in ("HTTP/1.1", "HTTP/1.0") or not (code.isascii() and code.isdigit()):
        raise ProtocolError(f"not an HTTP response: {status_line[:80]!r}")
    status, headers = int(code), HeaderFields(_unfolded(header_lines))
    is_chunked = (headers.get("Transfer-Encoding") or "").lower().endswith("chunked")
    wish = (headers.get("Connection") or "").lower()
    is_kept = "close" not in wish if version == "HTTP/1.1" else "keep-alive" in wish
    length = None if is_chunked else _length(status, headers)
    return Head(status, headers, length, is_chunked, is_kept)


def _length(status: int, headers: HeaderFields) -> int | None:
    if status in (204, 304):
        return 0
    text = headers.get("Content-Length")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()):
        raise ProtocolError(f"not a length: {text[:80]!r}")
    return int(text)


def _unfolded(lines: list[str]) -> list[str]:
    """Return headers with those that go on in the next line made one (RFC 9112, 5.2)."""
    whole: list[str] = []
    for line in lines:
        if line[0] in " \t" and whole:
            whole[-1] += f" {line.strip()}"
        else:
            whole.append(line)
    return whole


def _escape(target: str) -> str:
    """Percent-encode what may not stand in a request line; some servers redirect to such names."""
    if target.isascii() and target.isprintable() and " " not in target:
        return target
    try:
        raw = target.encode("latin-1")  # a header's bytes, as they came
    except UnicodeEncodeError:
        raw = target.encode("utf-8")
    return "".join(chr(byte) if 0x21 <= byte <= 0x7E else f"%{byte:02X}" for byte in raw)
