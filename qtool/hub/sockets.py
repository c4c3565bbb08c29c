"""Sockets to an origin: directly or through a proxy, encrypted if the origin is."""

import contextlib
import socket
import time
from functools import lru_cache
from typing import TYPE_CHECKING

from qtool.hub.origin import Origin
from qtool.hub.proxies import Proxy, ProxyFailure
from qtool.hub.wire import Wire

if TYPE_CHECKING:
    import ssl

# A server that answers so soon needs no large window: what waits in the socket when the process
# is killed has to be sent again, and 128 KiB in 2 ms are 64 MB/s over each connection at the least.
NEAR_S = 0.002
NEAR_BUFFER_BYTES = 128 * 1024


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


def open_socket(origin: Origin, proxy: Proxy | None, timeout_s: float) -> socket.socket:
    """Connect, through the proxy if there is one, encrypted if the origin is.

    Raises OSError, ProtocolError for a proxy that does not answer with HTTP, EnvironmentFault
    for a SOCKS proxy without the library for it.
    """
    sock = _reach(origin, proxy, timeout_s)
    try:
        if origin.scheme == "http":
            return sock
        return tls_context().wrap_socket(sock, server_hostname=origin.host)
    except BaseException:
        sock.close()
        raise


def _reach(origin: Origin, proxy: Proxy | None, timeout_s: float) -> socket.socket:
    """Return a socket at whose other end is the origin, or the proxy that passes requests on."""
    if proxy is None:
        return _connect(origin.host, origin.port, timeout_s)
    if proxy.kind.is_socks:
        from qtool.hub.socks import connect_through

        return _tuned(connect_through(proxy, origin, timeout_s))
    try:
        sock = _connect(proxy.host, proxy.port, timeout_s)
    except OSError as exc:
        raise proxy.unreachable(exc) from exc
    try:
        if origin.scheme == "https":
            _open_tunnel(Wire(sock), origin, proxy)
    except BaseException:
        sock.close()
        raise
    return sock


def _connect(host: str, port: int, timeout_s: float) -> socket.socket:
    started_at = time.monotonic()
    # A host in bytes spares getaddrinfo the import of Python's IDNA codec.
    name = host.encode("ascii" if host.isascii() else "idna")
    sock = socket.create_connection((name, port), timeout_s)  # type: ignore[arg-type]
    if time.monotonic() - started_at < NEAR_S:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NEAR_BUFFER_BYTES)
    return _tuned(sock)


def _tuned(sock: socket.socket) -> socket.socket:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _open_tunnel(wire: Wire, origin: Origin, proxy: Proxy) -> None:
    """Ask for a way to the origin (RFC 9110, 9.3.6). Raises ProxyFailure when it is refused."""
    address = origin.authority(has_port=True)
    wire.send("CONNECT", address, {"Host": address, **proxy.headers})
    status = wire.read_head().status
    if status != 200:
        raise ProxyFailure(f"{proxy} refuses the connection: {status}")
