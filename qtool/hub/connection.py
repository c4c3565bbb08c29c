"""HTTP connections: kept alive, through a proxy if need be, read straight from the socket.

Bodies go from the socket straight into the caller's buffer (``Exchange.read_into``), which costs
half the CPU of ``http.client``'s reading.
"""

import contextlib
import logging
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import qtool
from qtool.errors import NetworkError
from qtool.hub.headers import Headers
from qtool.hub.paths import printable
from qtool.hub.proxies import Proxy, find_proxy
from qtool.hub.wire import Chunks, Head, ProtocolError, Wire

if TYPE_CHECKING:
    import ssl

log = logging.getLogger(__name__)

USER_AGENT = f"qtool/{qtool.__version__}"
DEFAULT_PORTS = {"http": 80, "https": 443}
# A server that answers so soon needs no large window: what waits in the socket when the process
# is killed has to be sent again, and 128 KiB in 2 ms are 64 MB/s over each connection at the least.
NEAR_S = 0.002
NEAR_BUFFER_BYTES = 128 * 1024
# An answer read as a whole may take ANSWER_S, and longer if it is long.
ANSWER_S = 30.0
SLOWEST_BYTES_PER_S = 2000
# What ends a request without being our fault; TimeoutError, ssl.SSLError and gaierror are OSError.
WIRE_ERRORS = (OSError, ProtocolError)


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
            port = parts.port or DEFAULT_PORTS[parts.scheme]
            host = parts.hostname or ""
            if not host.isascii() or any(len(label) > 63 for label in host.split(".")):
                host = host.encode("idna").decode("ascii")
        except (ValueError, KeyError) as exc:  # UnicodeError is a ValueError
            raise NetworkError(f"not an HTTP address: {redact(url)}") from exc
        if not host:
            raise NetworkError(f"an address without a host: {redact(url)}")
        return cls(parts.scheme, host, port)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"


def redact(url: str) -> str:
    """Return a URL for print: without its query, which in signed links is a secret."""
    head, mark, _ = printable(url).partition("?")
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

    def __init__(self, pool: "ConnectionPool", origin: Origin, wire: Wire, head: Head) -> None:
        self.status = head.status
        self.headers: Headers = head.headers
        self.remaining = head.length
        self._pool = pool
        self._origin = origin
        self._wire = wire
        self._chunks = Chunks(wire) if head.is_chunked else None
        self._is_kept = head.is_kept
        self._is_closed = False

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
        if is_read and self._is_kept:
            self._pool.give_back(self._origin, self._wire)
        else:
            self._pool.discard(self._wire)


class ConnectionPool:
    """Connections kept for reuse, and the means to cut all of them at once. Thread-safe."""

    def __init__(self, *, connect_timeout_s: float = 10.0, stall_timeout_s: float = 4.0) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._stall_timeout_s = stall_timeout_s
        self._idle: dict[Origin, list[Wire]] = defaultdict(list)
        self._live: set[socket.socket] = set()
        self._proxies: dict[Origin, Proxy | None] = {}
        self._is_aborted = False
        self._lock = threading.Lock()

    def get(
        self, url: str, headers: Mapping[str, str], *, response_timeout_s: float | None = None
    ) -> Exchange:
        """Send a GET and return the exchange once the headers are there. Follows no redirect.

        Raises one of WIRE_ERRORS when the wire fails, AbortedError after ``abort``. A kept
        connection that the server closed meanwhile is replaced once.
        """
        origin = Origin.of(url)
        proxy = self._proxy_for(origin)
        if (kept := self._take_idle(origin)) is not None:
            try:
                return self._send(kept, origin, proxy, url, headers, response_timeout_s)
            except (ConnectionError, ProtocolError) as exc:
                log.debug("kept connection to %s was closed: %s", origin, exc)
        fresh = self._connect(origin, proxy)
        return self._send(fresh, origin, proxy, url, headers, response_timeout_s)

    def give_back(self, origin: Origin, wire: Wire) -> None:
        """Keep a connection for the next request to the same origin."""
        with self._lock:
            if not self._is_aborted:
                self._idle[origin].append(wire)
                return
        self.discard(wire)

    def discard(self, wire: Wire) -> None:
        """Close a connection for good."""
        with self._lock:
            self._live.discard(wire.socket)
        wire.socket.close()

    def close(self) -> None:
        """Close the kept connections."""
        with self._lock:
            kept = [wire for group in self._idle.values() for wire in group]
            self._idle.clear()
        for wire in kept:
            self.discard(wire)

    def abort(self) -> None:
        """Shut every socket down, which wakes all threads that wait on one, and open no more."""
        with self._lock:
            self._is_aborted = True
            live = list(self._live)
        for sock in live:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
        self.close()

    def _proxy_for(self, origin: Origin) -> Proxy | None:
        """Return the origin's proxy; looking through the environment each time would add up."""
        if origin not in self._proxies:
            self._proxies[origin] = find_proxy(origin.scheme, origin.host, origin.port)
        return self._proxies[origin]

    def _take_idle(self, origin: Origin) -> Wire | None:
        with self._lock:
            if self._is_aborted:
                raise AbortedError
            group = self._idle.get(origin)
            return group.pop() if group else None

    def _connect(self, origin: Origin, proxy: Proxy | None) -> Wire:
        sock = open_socket(origin, proxy, self._connect_timeout_s)
        with self._lock:
            if not self._is_aborted:
                self._live.add(sock)
                return Wire(sock)
        sock.close()
        raise AbortedError

    def _send(
        self,
        wire: Wire,
        origin: Origin,
        proxy: Proxy | None,
        url: str,
        headers: Mapping[str, str],
        response_timeout_s: float | None,
    ) -> Exchange:
        try:
            wire.socket.settimeout(response_timeout_s or self._stall_timeout_s)
            wire.send("GET", _target(url, origin, proxy), _complete(headers, origin, proxy))
            head = wire.read_head()
            wire.socket.settimeout(self._stall_timeout_s)
        except BaseException:
            self.discard(wire)
            if self._is_aborted:
                raise AbortedError from None
            raise
        return Exchange(self, origin, wire, head)


def open_socket(origin: Origin, proxy: Proxy | None, timeout_s: float) -> socket.socket:
    """Connect, through the proxy if there is one, encrypted if the origin is.

    Raises OSError, ProtocolError for a proxy that does not answer with HTTP.
    """
    host, port = (proxy.host, proxy.port) if proxy else (origin.host, origin.port)
    started_at = time.monotonic()
    # A host in bytes spares getaddrinfo the import of Python's IDNA codec.
    name = host.encode("ascii" if host.isascii() else "idna")
    sock = socket.create_connection((name, port), timeout_s)  # type: ignore[arg-type]
    try:
        if time.monotonic() - started_at < NEAR_S:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NEAR_BUFFER_BYTES)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if origin.scheme == "http":
            return sock
        if proxy:
            _open_tunnel(Wire(sock), origin, proxy)
        return tls_context().wrap_socket(sock, server_hostname=origin.host)
    except BaseException:
        sock.close()
        raise


def _open_tunnel(wire: Wire, origin: Origin, proxy: Proxy) -> None:
    """Ask a proxy for a way to the origin (RFC 9110, 9.3.6). Raises OSError when it refuses."""
    address = _address(origin, has_port=True)
    wire.send("CONNECT", address, {"Host": address, **proxy.headers})
    status = wire.read_head().status
    if status != 200:
        raise OSError(f"the proxy {proxy.host}:{proxy.port} refuses the connection: {status}")


def _address(origin: Origin, *, has_port: bool) -> str:
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    return f"{host}:{origin.port}" if has_port else host


def _target(url: str, origin: Origin, proxy: Proxy | None) -> str:
    """Return what stands in the request line: the path, or the whole URL for a proxy."""
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if proxy and origin.scheme == "http":
        return f"{origin.scheme}://{parts.netloc.rpartition('@')[2]}{path}"
    return path


def _complete(headers: Mapping[str, str], origin: Origin, proxy: Proxy | None) -> dict[str, str]:
    has_port = origin.port != DEFAULT_PORTS[origin.scheme]
    # identity: a compressed body could be neither resumed nor compared by size.
    complete = {
        "Host": _address(origin, has_port=has_port),
        "User-Agent": USER_AGENT,
        "Accept-Encoding": "identity",
        **headers,
    }
    if proxy and origin.scheme == "http":
        complete |= proxy.headers
    return complete
