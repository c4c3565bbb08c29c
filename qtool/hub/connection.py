"""HTTP connections: kept alive, through a proxy if need be, read straight from the socket.

``http.client`` sends requests and parses headers. Bodies bypass it: ``Exchange.read_into`` receives
into the caller's buffer, which costs half the CPU of ``HTTPResponse.read``.
"""

import contextlib
import http.client
import logging
import socket
import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import qtool
from qtool.errors import NetworkError
from qtool.hub.headers import Headers
from qtool.hub.proxies import Proxy, find_proxy

if TYPE_CHECKING:
    import ssl

log = logging.getLogger(__name__)

USER_AGENT = f"qtool/{qtool.__version__}"
# What ends a request without being our fault; TimeoutError, ssl.SSLError and gaierror are OSError.
WIRE_ERRORS = (OSError, http.client.HTTPException)


class AbortedError(Exception):
    """The user asked to stop; every socket of the pool was shut down."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port: what a token or a kept connection belongs to."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> "Origin":
        """Return the origin of a URL. Raises NetworkError when it is not HTTP."""
        try:
            parts = urlsplit(url)
            port = parts.port or {"http": 80, "https": 443}[parts.scheme]
        except (ValueError, KeyError) as exc:
            raise NetworkError(f"not an HTTP address: {redact(url)}") from exc
        if not parts.hostname:
            raise NetworkError(f"an address without a host: {redact(url)}")
        return cls(parts.scheme, parts.hostname, port)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"


def redact(url: str) -> str:
    """Return a URL without its query, which in signed links is a secret."""
    head, mark, _ = url.partition("?")
    return f"{head}?…" if mark else head


@lru_cache(maxsize=1)
def tls_context() -> "ssl.SSLContext":
    """Return the TLS settings of the process: system certificates, or those of SSL_CERT_FILE.

    Where Python finds no system certificates, those of certifi are taken when it is installed.
    """
    import ssl

    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    paths = ssl.get_default_verify_paths()
    if paths.cafile is None and paths.capath is None and not context.get_ca_certs():
        with contextlib.suppress(ImportError):
            import certifi

            context.load_verify_locations(certifi.where())
    return context


class Exchange:
    """A request whose response headers have arrived.

    ``remaining`` counts the body bytes still to come, None when the response does not say.
    """

    def __init__(
        self,
        pool: "ConnectionPool",
        origin: Origin,
        connection: http.client.HTTPConnection,
        sock: socket.socket,
        response: http.client.HTTPResponse,
    ) -> None:
        self.status = response.status
        self.headers: Headers = response.headers
        self.remaining: int | None = response.length
        self._pool = pool
        self._origin = origin
        self._connection = connection
        self._sock = sock
        self._response = response
        self._has_drained_head = False

    def read_into(self, buffer: memoryview) -> int:
        """Receive up to ``len(buffer)`` body bytes and return how many; 0 at the end of the body.

        Raises OSError (TimeoutError after the pool's stall deadline without a byte).
        """
        if self.remaining is not None:
            buffer = buffer[: self.remaining]
        if not buffer:
            return 0
        count = self._receive(buffer)
        if self.remaining is not None:
            self.remaining -= count
        return count

    def _receive(self, buffer: memoryview) -> int:
        if self.remaining is None or self._response.fp is None:
            return self._response.readinto(buffer)
        if self._has_drained_head:
            return self._sock.recv_into(buffer)
        # http.client's buffered reader may hold the first bytes of the body. A read1 smaller than
        # what it holds leaves some there, a larger one empties it (or goes to the socket).
        head = self._response.fp.read1(len(buffer))
        buffer[: len(head)] = head
        self._has_drained_head = len(head) < len(buffer)
        return len(head)

    def read_all(self, limit_bytes: int) -> bytes:
        """Return the whole body.

        Raises NetworkError when it is longer than ``limit_bytes``, or cut short.
        """
        body = bytearray()
        view = memoryview(bytearray(64 * 1024))
        try:
            while count := self.read_into(view):
                body += view[:count]
                if len(body) > limit_bytes:
                    raise NetworkError(f"{self._origin} answers with more than {limit_bytes} bytes")
            if self.remaining:
                raise NetworkError(f"{self._origin} closed the connection in mid-answer")
        finally:
            self.close()
        return bytes(body)

    def close(self) -> None:
        """Give the connection back for reuse when the body was read to its end, else close it."""
        is_reusable = self.remaining == 0 and not self._response.will_close
        self._response.close()
        if is_reusable and self._connection.sock is self._sock:
            self._pool.give_back(self._origin, self._connection)
        else:
            self._pool.discard(self._connection, self._sock)


class ConnectionPool:
    """Connections kept for reuse, and the means to cut all of them at once. Thread-safe."""

    def __init__(self, *, connect_timeout_s: float = 10.0, stall_timeout_s: float = 4.0) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._stall_timeout_s = stall_timeout_s
        self._idle: dict[Origin, list[http.client.HTTPConnection]] = defaultdict(list)
        self._live: set[socket.socket] = set()
        self._is_aborted = False
        self._lock = threading.Lock()

    def get(
        self, url: str, headers: Mapping[str, str], *, response_timeout_s: float | None = None
    ) -> Exchange:
        """Send a GET and return the exchange once the headers are there. Follows no redirect.

        Raises OSError or http.client.HTTPException when the wire fails, AbortedError after
        ``abort``. A kept connection that the server closed meanwhile is replaced once.
        """
        origin = Origin.of(url)
        proxy = find_proxy(origin.scheme, origin.host, origin.port)
        if (kept := self._take_idle(origin)) is not None:
            try:
                return self._send(kept, origin, proxy, url, headers, response_timeout_s)
            except (ConnectionError, http.client.BadStatusLine) as exc:
                log.debug("kept connection to %s was closed: %s", origin, exc)
        fresh = self._connect(origin, proxy)
        return self._send(fresh, origin, proxy, url, headers, response_timeout_s)

    def give_back(self, origin: Origin, connection: http.client.HTTPConnection) -> None:
        """Keep a connection for the next request to the same origin."""
        with self._lock:
            if not self._is_aborted:
                self._idle[origin].append(connection)
                return
        self.discard(connection, connection.sock)

    def discard(self, connection: http.client.HTTPConnection, sock: socket.socket | None) -> None:
        """Close a connection for good."""
        connection.close()
        if sock is not None:
            with self._lock:
                self._live.discard(sock)
            sock.close()

    def close(self) -> None:
        """Close the kept connections."""
        with self._lock:
            kept = [connection for group in self._idle.values() for connection in group]
            self._idle.clear()
        for connection in kept:
            self.discard(connection, connection.sock)

    def abort(self) -> None:
        """Shut every socket down, which wakes all threads that wait on one, and open no more."""
        with self._lock:
            self._is_aborted = True
            live = list(self._live)
        for sock in live:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        self.close()

    def _take_idle(self, origin: Origin) -> http.client.HTTPConnection | None:
        with self._lock:
            if self._is_aborted:
                raise AbortedError
            group = self._idle.get(origin)
            return group.pop() if group else None

    def _connect(self, origin: Origin, proxy: Proxy | None) -> http.client.HTTPConnection:
        connection = _new_connection(origin, proxy, self._connect_timeout_s)
        connection.connect()
        sock = connection.sock
        with self._lock:
            if not self._is_aborted:
                self._live.add(sock)
                return connection
        connection.close()
        raise AbortedError

    def _send(
        self,
        connection: http.client.HTTPConnection,
        origin: Origin,
        proxy: Proxy | None,
        url: str,
        headers: Mapping[str, str],
        response_timeout_s: float | None,
    ) -> Exchange:
        sock = connection.sock
        try:
            sock.settimeout(response_timeout_s or self._stall_timeout_s)
            connection.request(
                "GET", _target(url, origin, proxy), headers=_complete(headers, origin, proxy)
            )
            response = connection.getresponse()
            sock.settimeout(self._stall_timeout_s)
        except BaseException:
            self.discard(connection, sock)
            if self._is_aborted:
                raise AbortedError from None
            raise
        return Exchange(self, origin, connection, sock, response)


def _new_connection(
    origin: Origin, proxy: Proxy | None, timeout_s: float
) -> http.client.HTTPConnection:
    host, port = (proxy.host, proxy.port) if proxy else (origin.host, origin.port)
    if origin.scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=timeout_s)
    connection = http.client.HTTPSConnection(host, port, timeout=timeout_s, context=tls_context())
    if proxy:
        connection.set_tunnel(origin.host, origin.port, headers=proxy.headers)
    return connection


def _target(url: str, origin: Origin, proxy: Proxy | None) -> str:
    """Return what stands in the request line: the path, or the whole URL for a proxy."""
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if proxy and origin.scheme == "http":
        return f"{origin.scheme}://{parts.netloc.rpartition('@')[2]}{path}"
    return path


def _complete(headers: Mapping[str, str], origin: Origin, proxy: Proxy | None) -> dict[str, str]:
    # identity: a compressed body could be neither resumed nor compared by size.
    complete = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
    if proxy and origin.scheme == "http":
        complete |= proxy.headers
    return complete
