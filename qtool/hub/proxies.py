"""Which proxy a connection goes through, by HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.

The rules are the standard library's (``urllib.request``), which is imported only when the
environment names a proxy, for it costs 20 ms. Credentials in the proxy's URL are honoured.
"""

import base64
import os
import sys
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import unquote, urlsplit

from qtool.errors import UsageError

# A field of SOCKS's password authentication (RFC 1929).
MAX_SOCKS_CREDENTIAL_BYTES = 255


class ProxyFailure(OSError):
    """A proxy that cannot be reached, or refuses; the host behind it may be well."""


class ProxyKind(StrEnum):
    """The protocols spoken with proxies: HTTP, and SOCKS5 with names resolved here or there."""

    HTTP = "http"
    SOCKS5 = "socks5"
    SOCKS5H = "socks5h"

    @property
    def is_socks(self) -> bool:
        """Return whether it is SOCKS."""
        return self is not ProxyKind.HTTP


DEFAULT_PORTS = {ProxyKind.HTTP: 80, ProxyKind.SOCKS5: 1080, ProxyKind.SOCKS5H: 1080}


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy. Its credentials are never to be logged; ``str`` names it without them."""

    kind: ProxyKind
    host: str
    port: int
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers that only an HTTP proxy may see."""
        if self.username is None:
            return {}
        pair = f"{self.username}:{self.password or ''}".encode()
        return {"Proxy-Authorization": "Basic " + base64.b64encode(pair).decode("ascii")}

    @property
    def url(self) -> str:
        """Return its address without credentials."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.kind}://{host}:{self.port}"

    def __str__(self) -> str:
        return f"the proxy {self.url}"

    def unreachable(self, exc: OSError) -> ProxyFailure:
        """Return the exception for a proxy that does not let itself be connected to."""
        reason = os.strerror(exc.errno) if exc.errno and exc.errno > 0 else str(exc)
        return ProxyFailure(f"{self} cannot be reached: {reason}")


def find_proxy(scheme: str, host: str, port: int) -> Proxy | None:
    """Return the proxy for a URL's scheme and host, None to connect directly.

    Raises UsageError for a proxy of another kind than HTTP or SOCKS5 (SOCKS4, TLS to the proxy).
    """
    if not _may_have_proxy():
        return None
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    url = proxies.get(scheme) or proxies.get("all")
    if not url or proxy_bypass(f"{host}:{port}"):
        return None
    return parse_proxy(url)


def parse_proxy(url: str) -> Proxy:
    """Return the proxy that a URL such as ``http://user:pass@proxy:3128`` names."""
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port
    except ValueError:
        # Not "from exc": it quotes what may be half of a password.
        raise UsageError(
            "the proxy in the environment is not a URL",
            hint="in its user name and password, write / as %2F, : as %3A, @ as %40, # as %23",
        ) from None
    if parts.scheme not in list(ProxyKind) or not parts.hostname:
        raise UsageError(
            f"a proxy of kind {parts.scheme}:// is not supported",
            hint="set HTTPS_PROXY=http://HOST:PORT or HTTPS_PROXY=socks5h://HOST:PORT",
        )
    kind = ProxyKind(parts.scheme)
    username = unquote(parts.username) if parts.username is not None else None
    password = unquote(parts.password or "") if username is not None else None
    if kind.is_socks:
        for credential in (username, password):
            _check_socks_credential(credential)
    return Proxy(kind, parts.hostname, port or DEFAULT_PORTS[kind], username, password)


def _check_socks_credential(text: str | None) -> None:
    """Raise UsageError for what cannot be said to a SOCKS proxy."""
    if text is not None and not (text.isascii() and 0 < len(text) <= MAX_SOCKS_CREDENTIAL_BYTES):
        raise UsageError(
            "user name and password of a SOCKS proxy are 1 to 255 ASCII characters each",
            hint="set ALL_PROXY=socks5h://USER:PASSWORD@HOST:PORT",
        )


def _may_have_proxy() -> bool:
    """Return whether it is worth asking; macOS and Windows keep proxies outside the environment."""
    return sys.platform != "linux" or any(name.lower().endswith("_proxy") for name in os.environ)
