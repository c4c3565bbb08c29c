"""Which proxy a connection goes through, by HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.

The rules are the standard library's (``urllib.request``), which is imported only when the
environment names a proxy, for it costs 20 ms. Credentials in the proxy's URL are honoured.
"""

import base64
import os
import sys
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from qtool.errors import UsageError


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy; ``authorization`` is the value of its header, never to be logged."""

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers that only the proxy may see."""
        return {"Proxy-Authorization": self.authorization} if self.authorization else {}


def find_proxy(scheme: str, host: str, port: int) -> Proxy | None:
    """Return the proxy for a URL's scheme and host, None to connect directly.

    Raises UsageError for a proxy of another kind than ``http://`` (SOCKS, TLS to the proxy).
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
        port = parts.port or 80
    except ValueError as exc:
        raise UsageError("the proxy in the environment is not a URL") from exc
    if parts.scheme != "http" or not parts.hostname:
        raise UsageError(
            f"a proxy of kind {parts.scheme}:// is not supported",
            hint="set HTTPS_PROXY=http://HOST:PORT; most SOCKS programs have an HTTP port too",
        )
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode("ascii")
    return Proxy(parts.hostname, port, authorization)


def _may_have_proxy() -> bool:
    """Return whether it is worth asking; macOS and Windows keep proxies outside the environment."""
    return sys.platform != "linux" or any(name.lower().endswith("_proxy") for name in os.environ)
