"""Where a request goes: scheme, host and port of a URL; and URLs without what is secret in them."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from qtool.errors import NetworkError
from qtool.hub.paths import printable

DEFAULT_PORTS = {"http": 80, "https": 443}


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

    def authority(self, *, has_port: bool) -> str:
        """Return ``host:port`` or ``host`` as a request names it, an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if has_port else host


def redact(url: str) -> str:
    """Return a URL for print: without its query, which in signed links is a secret."""
    head, mark, _ = printable(url).partition("?")
    return f"{head}?…" if mark else head
