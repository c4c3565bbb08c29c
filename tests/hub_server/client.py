"""A plain client for the hub's own tests: ``http.client``, no redirects, no retries."""

import http.client
import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Reply:
    """A response. ``is_complete`` is False when the body ended before its Content-Length."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes
    is_complete: bool

    @property
    def document(self) -> Any:
        return json.loads(self.body)


def open_connection(
    url: str, *, ca_file: Path | None = None, timeout_s: float = TIMEOUT_S
) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    assert parts.hostname is not None
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=ca_file)
        return http.client.HTTPSConnection(
            parts.hostname, parts.port, timeout=timeout_s, context=context
        )
    return http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)


def fetch(
    url: str,
    headers: dict[str, str] | None = None,
    *,
    method: str = "GET",
    body: bytes | None = None,
    ca_file: Path | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Reply:
    """One request on a connection of its own."""
    connection = open_connection(url, ca_file=ca_file, timeout_s=timeout_s)
    try:
        return fetch_on(connection, url, headers, method=method, body=body)
    finally:
        connection.close()


def fetch_on(
    connection: http.client.HTTPConnection,
    url: str,
    headers: dict[str, str] | None = None,
    *,
    method: str = "GET",
    body: bytes | None = None,
) -> Reply:
    parts = urlsplit(url)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    connection.request(method, target, body, headers or {})
    with connection.getresponse() as response:
        try:
            content, is_complete = response.read(), True
        except http.client.IncompleteRead as exc:
            content, is_complete = exc.partial, False
        return Reply(response.status, response.headers, content, is_complete)


def fetch_range(url: str, start: int, stop: int, **options: Any) -> Reply:
    """Fetch the bytes [start, stop)."""
    return fetch(url, {"Range": f"bytes={start}-{stop - 1}"}, **options)


def cdn_link(resolve_url: str, *, ca_file: Path | None = None) -> str:
    """The signed link an LFS file's resolve address leads to."""
    reply = fetch(resolve_url, method="HEAD", ca_file=ca_file)
    assert reply.status == 302
    return reply.headers["Location"]
