"""The server's HTTP side: who may ask, what, and how the answer is sent.

Loopback alone unless another address is named, an API key for everything but the bare state, and
no page of a browser that is not this server's own: no CORS header is ever sent, a foreign
``Origin`` is refused, and on loopback so is a ``Host`` that is no loopback name, which stops DNS
rebinding.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import select
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable
from urllib.parse import urlsplit

from .jobs import Event, Job, WaitingLine
from .reasoning import Piece
from .refusal import Refusal, bad_request
from .reply import Outcome, Rendered, ReplyWriter
from .request import Request, Sampling, parse_request
from .status import Status
from .strangers import Strangers, reading_ends_after

MAX_BODY_BYTES = 32 * 1024 * 1024
MAX_LENGTH_DIGITS = 19
MAX_CONNECTIONS = 64
READ_TIMEOUT_S = 30
"""How long nothing may come, or be taken."""

HEAD_TIMEOUT_S = 10
BODY_TIMEOUT_S = 60
"""How long a request may take to arrive, all of it."""

LEAVING_S = 1
"""What a connection that is shut down may take to be gone."""

CLIENT_POLL_S = 0.05
"""How soon it is seen, between two tokens, that a client has gone."""

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")


class ApiServer(ThreadingHTTPServer):
    """Listens on a port of ``host``; ``port`` 0 takes a free one.

    Raises:
        OSError: the port is taken, or the address is none of this machine's.
    """

    daemon_threads = True
    request_queue_size = 16

    def __init__(
        self,
        port: int,
        api_key: str,
        model: str,
        status: Status,
        line: WaitingLine,
        host: str = LOOPBACK_NAMES[0],
    ) -> None:
        self.api_key = api_key
        self.model = model
        self.status = status
        self.line = line
        self.defaults = Sampling()
        self.n_ctx_tokens: int | None = None
        self.strangers = Strangers()
        self._places = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__((host, port), _Handler)

    @property
    def url(self) -> str:
        """Where it listens, without a trailing slash."""
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}"

    @property
    def is_on_loopback(self) -> bool:
        """Tell whether nobody but this machine reaches it."""
        return _is_loopback(str(self.server_address[0]))

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give the connection a thread; where there are too many, one without a key must go."""
        if self._places.acquire(blocking=False) or (
            self.strangers.send_oldest_away() and self._places.acquire(timeout=LEAVING_S)
        ):
            self.strangers.add(request)
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer the connection in a thread of its own."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.strangers.forget(request)
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes in mid-answer is no error of the server."""


class _Handler(BaseHTTPRequestHandler):
    server: ApiServer
    server_version = "qtool"
    sys_version = ""
    timeout = READ_TIMEOUT_S

    def handle(self) -> None:
        """Answer one request; its head is awaited for so long and no longer."""
        with contextlib.ExitStack() as self._awaiting_head:
            self._awaiting_head.enter_context(reading_ends_after(self.connection, HEAD_TIMEOUT_S))
            super().handle()

    def do_GET(self) -> None:
        """Answer ``/health`` and ``/v1/models``."""
        self._answer({"/health": self._health, "/v1/models": self._models})

    def do_POST(self) -> None:
        """Answer the two kinds of completion, and what their prompts look like."""
        self._answer(
            {
                "/v1/chat/completions": lambda: self._complete(True),
                "/v1/completions": lambda: self._complete(False),
                "/apply-template": self._apply_template,
                "/tokenize": self._tokenize,
            }
        )

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet: the log is for what goes wrong."""

    def _answer(self, routes: dict[str, Callable[[], None]]) -> None:
        self._awaiting_head.close()
        path = urlsplit(self.path).path.rstrip("/")
        try:
            self._check_origin()
            if path != "/health":
                self._check_key()
            if path not in routes:
                raise Refusal(404, "not_found_error", f"there is no {self.command} {path}")
            routes[path]()
        except Refusal as refusal:
            self._send_json(refusal.status, refusal.to_object())

    def _check_origin(self) -> None:
        """Let in programs, and pages that this port serves; on loopback by its own names alone."""
        names = {f"{name}:{self.server.server_port}" for name in ("127.0.0.1", "localhost")}
        if self.server.is_on_loopback and not _is_loopback(self.headers.get("Host", "")):
            raise Refusal(403, "permission_error", "the Host header is not a loopback address")
        origin = self.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc not in names:
            raise Refusal(403, "permission_error", "no page from elsewhere may ask here")

    def _has_key(self) -> bool:
        kind, _, key = self.headers.get("Authorization", "").partition(" ")
        given = key.strip() if kind.lower() == "bearer" else self.headers.get("X-Api-Key", "")
        return hmac.compare_digest(given.encode(), self.server.api_key.encode())

    def _check_key(self) -> None:
        if not self._has_key():
            raise Refusal(401, "authentication_error", "the API key is missing or wrong")
        self.server.strangers.forget(self.connection)

    def _health(self) -> None:
        """Tell the state to everybody; why it failed may name files, and needs the key."""
        state = self.server.status.describe()
        if not self._has_key():
            state = {"status": state["status"]}
        self._send_json(200 if self.server.status.is_ready else 503, state)

    def _models(self) -> None:
        meta = {"n_ctx": self.server.n_ctx_tokens}
        model = {"id": self.server.model, "object": "model", "created": 0, "owned_by": "qtool"}
        self._send_json(200, {"object": "list", "data": [{**model, "meta": meta}]})

    def _complete(self, is_chat: bool) -> None:
        self.server.status.require_ready()
        request = parse_request(self._read_body(), self.server.defaults, is_chat=is_chat)
        job = self.server.line.join(request)
        writer = ReplyWriter(self.server.model, is_chat=is_chat)
        try:
            events = job.events(self._is_client_there, CLIENT_POLL_S)
            if request.is_streaming:
                self._stream(job, events, writer)
            else:
                self._send_whole(events, writer)
        finally:
            job.cancel()

    def _apply_template(self) -> None:
        """Show what the template makes of messages, as llama.cpp's server does."""
        body = self._read_body()
        request = parse_request(body, self.server.defaults, is_chat=True)
        self._send_json(200, {"prompt": self._render(request).text})

    def _tokenize(self) -> None:
        """Return the token ids of a text, as llama.cpp's server does."""
        content = self._read_body().get("content")
        if not isinstance(content, str):
            raise bad_request("content must be a string", "content")
        request = Request(self.server.defaults, prompt=content)
        self._send_json(200, {"tokens": list(self._render(request).ids)})

    def _render(self, request: Request) -> Rendered:
        """Have the prompt of ``request`` made where all prompts are: templates are bounded there.

        Raises:
            Refusal: it cannot be made, or the client has gone.
        """
        self.server.status.require_ready()
        job = self.server.line.join(replace(request, only_renders=True))
        try:
            for event in job.events(self._is_client_there, CLIENT_POLL_S):
                if isinstance(event, Rendered):
                    return event
        finally:
            job.cancel()
        raise Refusal(499, "cancelled", "the client has gone")

    def _send_whole(self, events: Iterator[Event], writer: ReplyWriter) -> None:
        pieces: list[Piece] = []
        for event in events:
            if isinstance(event, Piece):
                pieces.append(event)
            elif isinstance(event, Outcome):
                self._send_json(200, writer.whole(pieces, event))

    def _stream(self, job: Job, events: Iterator[Event], writer: ReplyWriter) -> None:
        """Send events as they come. The status waits for the first one, which may be a refusal."""
        first = next(events, None)
        if first is None:
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if opening := writer.opening():
            self._send_event(opening)
        try:
            self._send_chunks(job, _chain(first, events), writer)
        except Refusal as refusal:  # too late for a status
            self._send_event(refusal.to_object())

    def _send_chunks(self, job: Job, events: Iterator[Event], writer: ReplyWriter) -> None:
        for event in events:
            if isinstance(event, Piece):
                self._send_event(writer.chunk(event))
            elif isinstance(event, Outcome):
                self._send_event(writer.closing(event))
                if job.request.has_usage:
                    self._send_event(writer.usage(event))
                self.wfile.write(b"data: [DONE]\n\n")

    def _send_event(self, data: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(data).encode() + b"\n\n")

    def _send_json(self, status: int, data: dict[str, Any]) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _read_body(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise Refusal(411, "invalid_request_error", "the length of the request is missing")
        if len(length) > MAX_LENGTH_DIGITS:
            raise bad_request("the length of the request is no number")
        if int(length) > MAX_BODY_BYTES:
            raise Refusal(413, "invalid_request_error", "the request is too large")
        try:
            with reading_ends_after(self.connection, BODY_TIMEOUT_S):
                data = self.rfile.read(int(length))
            if len(data) < int(length):
                raise Refusal(408, "invalid_request_error", "the request did not arrive")
            body = json.loads(data)
        except (ValueError, RecursionError) as exc:
            raise bad_request(f"the request is no JSON: {exc}") from exc
        except OSError as exc:
            raise Refusal(408, "invalid_request_error", "the request did not arrive") from exc
        if not isinstance(body, dict):
            raise bad_request("the request is no JSON object")
        return body

    def _is_client_there(self) -> bool:
        """Tell whether the other end is still open: what is readable now could only be its end."""
        try:
            readable, _, _ = select.select([self.connection], [], [], 0)
            return not readable or bool(self.connection.recv(1, socket.MSG_PEEK))
        except (OSError, ValueError):
            return False


def _chain(first: Event, rest: Iterator[Event]) -> Iterator[Event]:
    yield first
    yield from rest


def _is_loopback(host: str) -> bool:
    try:
        return urlsplit(f"//{host}").hostname in LOOPBACK_NAMES
    except ValueError:
        return False
