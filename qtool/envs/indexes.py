"""Which wheel index a package comes from: the first that answers."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

TIMEOUT_S = 6.0

Indexes = Callable[[str, str], tuple[str | None, ...]]
"""From a package and a range of versions to the addresses of indexes, the best first; ``None`` is
the user's own (pip's or uv's)."""


def only_the_users(package: str, versions: str) -> tuple[str | None, ...]:
    """Return no index but the user's own."""
    return (None,)


def first_reachable(
    urls: tuple[str | None, ...], package: str, *, timeout_s: float = TIMEOUT_S
) -> str | None:
    """Return the first index that has ``package``; the user's own is not asked.

    Installers would try an unreachable one for minutes.
    """
    for url in urls:
        if url is None or is_reachable(f"{url.rstrip('/')}/{package}/", timeout_s):
            return url
    return None


def is_reachable(url: str, timeout_s: float) -> bool:
    """Tell whether an address answers with a page, through the user's proxies."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        from urllib.request import url2pathname

        return Path(url2pathname(parts.path)).exists()
    if parts.scheme not in ("http", "https"):
        return False
    from http.client import HTTPException
    from urllib.request import Request, urlopen

    try:
        request = Request(url, headers={"User-Agent": "qtool"})  # noqa: S310 - HEAD: not everywhere
        with urlopen(request, timeout=timeout_s) as answer:  # noqa: S310 - scheme checked above
            return bool(answer.status == 200)
    except (OSError, HTTPException, ValueError):
        return False
