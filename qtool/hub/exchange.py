"""A response that is being read: its status and headers, then its body piece by piece.

Bodies go from the socket straight into the caller's buffer (``Exchange.read_into``), which costs
half the CPU of ``http.client``'s reading.
"""

import time
from collections.abc import Callable

from qtool.errors import NetworkError
from qtool.hub.headers import Headers
from qtool.hub.origin import Origin
from qtool.hub.wire import Chunks, Head, Wire

# An answer read as a whole may take ANSWER_S, and longer if it is long.
ANSWER_S = 30.0
SLOWEST_BYTES_PER_S = 2000


class Exchange:
    """A request whose response headers have arrived.

    ``remaining`` counts the body bytes still to come, None when the response does not say.
    ``release`` takes the connection back: True when it may be used again.
    """

    def __init__(
        self, origin: Origin, wire: Wire, head: Head, release: Callable[[bool], None]
    ) -> None:
        self.status = head.status
        self.headers: Headers = head.headers
        self.remaining = head.length
        self._origin = origin
        self._wire = wire
        self._release = release
        self._chunks = Chunks(wire) if head.is_chunked else None
        self._is_kept = head.is_kept
        self._is_closed = False

    def bear_silence(self, factor: int) -> None:
        """Wait ``factor`` times as long as usual for each byte of this body."""
        sock = self._wire.socket
        if (usual_s := sock.gettimeout()) is not None:
            sock.settimeout(factor * usual_s)

    def fill(self, buffer: memoryview, enough: int) -> int:
        """Receive what is at hand, up to ``enough`` body bytes or a little more; return how many.

        As ``read_into``, but in as few steps as possible.
        """
        if self._chunks is not None or not self.remaining:
            return self.read_into(buffer)
        count = self._wire.fill(buffer[: self.remaining], enough)
        self.remaining -= count
        return count

    def read_into(self, buffer: memoryview) -> int:
        """Receive up to ``len(buffer)`` body bytes and return how many; 0 at the end of the body.

        Raises OSError (TimeoutError after the pool's stall deadline without a byte).
        """
        if self._chunks is not None:
            return self._chunks.read_into(buffer)
        if self.remaining is None:
            return self._wire.read_into(buffer)
        if len(buffer) > self.remaining:
            buffer = buffer[: self.remaining]
        if not buffer:
            return 0
        count = self._wire.read_into(buffer)
        self.remaining -= count
        return count

    def read_all(self, limit_bytes: int) -> bytes:
        """Return the whole body.

        Raises NetworkError when it is longer than ``limit_bytes``, cut short, or no end of it is
        in sight because it trickles.
        """
        body = bytearray()
        started_at = time.monotonic()
        view = memoryview(bytearray(64 * 1024))
        try:
            while count := self.read_into(view):
                body += view[:count]
                if len(body) > limit_bytes:
                    raise NetworkError(f"{self._origin} answers with more than {limit_bytes} bytes")
                if time.monotonic() - started_at > ANSWER_S + len(body) / SLOWEST_BYTES_PER_S:
                    raise NetworkError(f"{self._origin} answers too slowly to go on")
            if self.remaining:
                raise NetworkError(f"{self._origin} closed the connection in mid-answer")
        finally:
            self.close()
        return bytes(body)

    def close(self) -> None:
        """Give the connection back for reuse when the body was read to its end, else close it."""
        if self._is_closed:
            return
        self._is_closed = True
        is_read = self.remaining == 0 or (self._chunks is not None and self._chunks.is_complete)
        self._release(is_read and self._is_kept)
