"""Sends a response over a connection: paced, counted, and struck by the faults of the body."""

from tests.hub.content import Source, open_content, walk
from tests.hub.faults import Fault, FaultKind, FaultTable, Strike
from tests.hub.log import OpenEntry
from tests.hub.responses import FilePart, Response
from tests.hub.wire import Connection, Disconnect, Request, format_head

TLS_PIECE_BYTES = 1 << 18
INLINE_BODY_BYTES = 1 << 16
TRICKLE_EVERY_S = 0.1


class Delivery:
    """The sending of one response."""

    def __init__(
        self, connection: Connection, response: Response, entry: OpenEntry, table: FaultTable
    ) -> None:
        self._connection = connection
        self._response = response
        self._entry = entry
        self._table = table
        self._is_chunked = response.header("Transfer-Encoding") == "chunked"

    def send(self, request: Request, strikes: list[Strike], slow_head: Fault | None) -> None:
        """Send head and body. Raises Disconnect when the connection cannot be used afterwards."""
        response = self._response
        self._complete_head(request)
        self._entry.status = response.status
        head = format_head(response.status, response.headers)
        self._connection.pacer.begin()
        has_body = request.method != "HEAD" and response.status not in (204, 304)
        if slow_head is not None:
            self._send_slowly(head, slow_head.delay_s)
            head = b""
        if not has_body:
            self._connection.send(head)
        elif response.part is None or not response.carries_part:
            self._send_bytes(head, response.body)
        else:
            self._send_part(head, response.part, strikes)
        if response.header("Connection") == "close":
            raise Disconnect

    def _complete_head(self, request: Request) -> None:
        response = self._response
        if not self._is_chunked and response.header("Content-Length") is None:
            response.headers.append(("Content-Length", str(response.length)))
        if request.wants_close:
            response.set_header("Connection", "close")

    def _send_slowly(self, head: bytes, seconds: float) -> None:
        for position in range(len(head)):
            self._connection.pacer.wait(seconds / len(head))
            self._connection.send(head[position : position + 1])

    def _send_bytes(self, head: bytes, body: bytes) -> None:
        if self._is_chunked:
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        if len(body) <= INLINE_BODY_BYTES:
            self._connection.pacer.pay(len(body))
            self._entry.bytes_sent += len(body)
            self._connection.send(head + body)
            return
        self._connection.send(head)
        for start in range(0, len(body), INLINE_BODY_BYTES):
            piece = body[start : start + INLINE_BODY_BYTES]
            self._connection.pacer.pay(len(piece))
            self._entry.bytes_sent += len(piece)
            self._connection.send(piece)

    def _send_part(self, head: bytes, part: FilePart, strikes: list[Strike]) -> None:
        with open_content(part.content) as source:
            if part.stop - part.start <= INLINE_BODY_BYTES and not strikes:
                body = b"".join(map(bytes, walk(source, part.start, part.stop)))
                self._send_bytes(head, body + self._response.padding)
                return
            self._connection.send(head)
            position = part.start
            for strike in strikes:
                if not position <= strike.offset < part.stop:
                    continue
                self._send_span(source, position, strike.offset)
                position = strike.offset
                if self._table.claim_strike(strike):
                    position += self._strike(source, strike, part.stop)
            self._send_span(source, position, part.stop)
        if self._response.padding:
            self._send_piece(memoryview(self._response.padding))
        if self._is_chunked:
            self._connection.send(b"0\r\n\r\n")

    def _strike(self, source: Source, strike: Strike, stop: int) -> int:
        """Let a fault of the body happen; returns how many bytes it has sent itself."""
        self._entry.faults.append(strike.fault.kind)
        match strike.fault.kind:
            case FaultKind.FLIP:
                byte = source.view(strike.offset, 1)[0]
                self._send_piece(memoryview(bytes([byte ^ 0xFF])))
                return 1
            case FaultKind.TRICKLE:
                return self._trickle(source, strike, stop)
            case FaultKind.PAUSE:
                self._connection.pacer.wait(strike.fault.delay_s)
                return 0
            case FaultKind.STALL:
                self._connection.stall()
            case FaultKind.RESET:
                self._connection.reset()
        raise Disconnect

    def _trickle(self, source: Source, strike: Strike, stop: int) -> int:
        """Send the rest in small pieces, ``count`` bytes a second in all."""
        size = max(1, round(strike.fault.count * TRICKLE_EVERY_S))
        for position in range(strike.offset, stop, size):
            self._connection.pacer.wait(size / strike.fault.count)
            for view in walk(source, position, min(stop, position + size)):
                self._send_piece(view)
        return stop - strike.offset

    def _send_span(self, source: Source, start: int, stop: int) -> None:
        connection, pacer, entry = self._connection, self._connection.pacer, self._entry
        limit = pacer.piece_bytes
        if connection.is_tls:
            limit = min(limit, TLS_PIECE_BYTES)
        by_kernel = not connection.is_tls and not self._is_chunked
        while start < stop:
            wanted = min(limit, stop - start)
            extent = source.extent(start, wanted) if by_kernel else None
            if extent is None:
                view = source.view(start, wanted)
                self._send_piece(view)
                start += len(view)
                continue
            pacer.pay(extent.length)
            entry.bytes_sent += extent.length
            sent = 0
            try:
                sent = connection.send_extent(extent)
            finally:
                entry.bytes_sent += sent - extent.length
            start += sent

    def _send_piece(self, view: memoryview) -> None:
        """Send a whole piece. It is counted beforehand, so that no client is ahead of the log."""
        connection, entry = self._connection, self._entry
        connection.pacer.pay(len(view))
        if self._is_chunked:
            connection.send(b"%x\r\n" % len(view))
        entry.bytes_sent += len(view)
        sent = 0
        try:
            while sent < len(view):
                sent += connection.send_some(view[sent:])
        finally:
            entry.bytes_sent += sent - len(view)
        if self._is_chunked:
            connection.send(b"\r\n")
