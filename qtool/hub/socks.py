"""Connections through a SOCKS5 proxy (RFC 1928, 1929), made by python-socks."""

import shlex
import socket
import sys

from qtool.errors import EnvironmentFault
from qtool.hub.origin import Origin
from qtool.hub.proxies import Proxy, ProxyFailure, ProxyKind


def connect_through(proxy: Proxy, origin: Origin, timeout_s: float) -> socket.socket:
    """Return a socket at whose other end is the origin.

    ``socks5h`` leaves the origin's name to the proxy, ``socks5`` resolves it here, as in curl.
    Raises ProxyFailure when the proxy cannot be reached or refuses, EnvironmentFault without the
    library.
    """
    try:
        from python_socks import ProxyConnectionError, ProxyError, ProxyType
        from python_socks.sync import Proxy as Connector
    except ImportError as exc:
        raise EnvironmentFault(
            f"{proxy} needs python-socks, which is not installed",
            hint=f"{shlex.quote(sys.executable)} -m pip install python-socks",
        ) from exc
    connector = Connector(
        ProxyType.SOCKS5,
        proxy.host,
        proxy.port,
        proxy.username,
        proxy.password,
        rdns=proxy.kind is ProxyKind.SOCKS5H,
    )
    try:
        return connector.connect(origin.host, origin.port, timeout_s)
    except ProxyConnectionError as exc:
        raise proxy.unreachable(exc) from exc
    except TimeoutError as exc:
        raise ProxyFailure(f"{proxy} did not connect within {timeout_s:.0f} s") from exc
    # ValueError: an answer that the library cannot read.
    except (ProxyError, ValueError) as exc:
        raise ProxyFailure(f"{proxy} refuses the connection: {exc}") from exc
