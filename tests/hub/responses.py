"""Responses as data, so that faults can change them before they are sent."""

import json
from dataclasses import dataclass, field

from tests.hub.content import Content
from tests.hub.wire import Request, parse_range

Headers = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class FilePart:
    """The stretch [start, stop) of a file that a response carries."""

    repo_id: str
    path: str
    content: Content
    size_bytes: int
    start: int
    stop: int


@dataclass(slots=True)
class Response:
    """A response before it is sent.

    The body is ``body``, or the stretch of ``part`` followed by ``padding``. A redirect is
    about a part (which faults look at) without carrying it: ``carries_part`` is False.
    """

    status: int = 200
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    part: FilePart | None = None
    carries_part: bool = True
    padding: bytes = b""

    @property
    def length(self) -> int:
        if self.part is not None and self.carries_part:
            return self.part.stop - self.part.start + len(self.padding)
        return len(self.body)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    def set_header(self, name: str, value: str | None) -> None:
        """Replace a header, or remove it with None."""
        self.headers = [(key, old) for key, old in self.headers if key != name]
        if value is not None:
            self.headers.append((name, value))


def json_response(document: object, status: int = 200, headers: Headers | None = None) -> Response:
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(
        status, [("Content-Type", "application/json; charset=utf-8"), *(headers or [])], body
    )


def error_response(status: int, message: str, code: str | None = None) -> Response:
    """An error as the hub words it: in the headers and as JSON."""
    headers = [("X-Error-Message", message)]
    if code is not None:
        headers.append(("X-Error-Code", code))
    return json_response({"error": message}, status, headers)


def redirect_response(location: str, status: int = 302, headers: Headers | None = None) -> Response:
    body = f"{'Found' if status == 302 else 'Temporary Redirect'}. Redirecting to {location}"
    head = [("Location", location), ("Content-Type", "text/plain; charset=utf-8"), *(headers or [])]
    return Response(status, head, body.encode())


def file_response(request: Request, whole: FilePart, etag: str, headers: Headers) -> Response:
    """Serve a file or the range asked for: 200, 206 or 416 (RFC 9110, 14)."""
    size = whole.size_bytes
    common: Headers = [
        ("Content-Type", "application/octet-stream"),
        ("Accept-Ranges", "bytes"),
        ("ETag", f'"{etag}"'),
        *headers,
    ]
    wanted = request.headers.get("range")
    if request.headers.get("if-range", f'"{etag}"') != f'"{etag}"':
        wanted = None
    try:
        bounds = parse_range(wanted, size)
    except ValueError:
        return Response(416, [*common, ("Content-Range", f"bytes */{size}")])
    if bounds is None:
        return Response(200, common, part=whole)
    start, stop = bounds
    part = FilePart(whole.repo_id, whole.path, whole.content, size, start, stop)
    common.append(("Content-Range", f"bytes {start}-{stop - 1}/{size}"))
    return Response(206, common, part=part)
