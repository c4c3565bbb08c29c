"""HTTP connections: kept alive, through a proxy if need be, all of them cut at once on demand."""

import contextlib
import logging
import socket
import threading
from collections import defaultdict
from collections.abc import Mapping
from urllib.parse import urlsplit

import qtool
from qtool.hub.exchange import Exchange
from qtool.hub.origin import DEFAULT_PORTS, Origin
from qtool.hub.proxies import Proxy, find_proxy
from qtool.hub.sockets import open_socket
from qtool.hub.wire import ProtocolError, Wire

log = logging.getLogger(__name__)

USER_AGENT = f"qtool/{qtool.__version__}"
# What ends a request without being our fault; TimeoutError, ssl.SSLError and gaierror are OSError.
WIRE_ERRORS = (OSError, ProtocolError)


class AbortedError(Exception):
    """The user asked to stop; every socket of the pool was shut down."""


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

    def close(self) -> None:
        """Close the kept connections."""
        with self._lock:
            kept = [wire for group in self._idle.values() for wire in group]
            self._idle.clear()
        for wire in kept:
            self._discard(wire)

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
            self._discard(wire)
            if self._is_aborted:
                raise AbortedError from None
            raise
        return Exchange(
            origin, wire, head, lambda is_usable: self._release(origin, wire, is_usable)
        )

    def _release(self, origin: Origin, wire: Wire, is_usable: bool) -> None:
        """Keep a connection for the next request to the same origin, or close it for good."""
        with self._lock:
            if is_usable and not self._is_aborted:
                self._idle[origin].append(wire)
                return
        self._discard(wire)

    def _discard(self, wire: Wire) -> None:
        with self._lock:
            self._live.discard(wire.socket)
        wire.socket.close()


def _target(url: str, origin: Origin, proxy: Proxy | None) -> str:
    """Return what stands in the request line: the path, or the whole URL for a proxy."""
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if _relay(origin, proxy):
        return f"{origin.scheme}://{parts.netloc.rpartition('@')[2]}{path}"
    return path


def _complete(headers: Mapping[str, str], origin: Origin, proxy: Proxy | None) -> dict[str, str]:
    has_port = origin.port != DEFAULT_PORTS[origin.scheme]
    # identity: a compressed body could be neither resumed nor compared by size.
    complete = {
        "Host": origin.authority(has_port=has_port),
        "User-Agent": USER_AGENT,
        "Accept-Encoding": "identity",
        **headers,
    }
    if relay := _relay(origin, proxy):
        complete |= relay.headers
    return complete


def _relay(origin: Origin, proxy: Proxy | None) -> Proxy | None:
    """Return the proxy that reads the request and passes it on; others only carry bytes."""
    return proxy if proxy and origin.scheme == "http" and not proxy.kind.is_socks else None
