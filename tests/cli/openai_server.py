"""A loopback server that speaks the OpenAI API, word by word and at a pace that tests choose."""

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator

Messages = list[dict[str, str]]


class OpenAiServer(http.server.ThreadingHTTPServer):
    """``reply`` turns the messages asked into pieces; a piece ``(text,)`` is reasoning."""

    daemon_threads = True

    def __init__(self, reply: Callable[[Messages], Iterator[str | tuple[str]]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply = reply
        self.pace_s = 0.0
        self.key = "secret-key"
        self.models = ["tiny"]
        self.n_ctx_tokens: int | None = None
        self.finish_reason = "stop"
        self.bodies: list[dict] = []
        self.is_cut_off = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def __enter__(self) -> "OpenAiServer":
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: OpenAiServer

    def do_GET(self) -> None:
        if self._has_key():
            meta = {"meta": {"n_ctx": self.server.n_ctx_tokens}}
            self._send(200, {"data": [{"id": name, **meta} for name in self.server.models]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._has_key():
            return
        if self.path != "/v1/chat/completions":
            self._send(404, {"error": {"message": "no such page"}})
            return
        self.server.bodies.append(body)
        size = sum(len(message["content"]) for message in body["messages"])
        if self.server.n_ctx_tokens and size > self.server.n_ctx_tokens:
            error = {"type": "exceed_context_size_error", "message": f"{size} tokens"}
            self._send(400, {"error": error})
            return
        try:
            self._stream(body, size)
        except OSError:
            self.server.is_cut_off.set()

    def _stream(self, body: dict, size: int) -> None:
        self.send_response(200)
        self.end_headers()
        n_pieces = 0
        for piece in self.server.reply(body["messages"]):
            name = "content" if isinstance(piece, str) else "reasoning_content"
            text = piece if isinstance(piece, str) else piece[0]
            self._event({"choices": [{"delta": {name: text}}]})
            n_pieces += 1
            time.sleep(self.server.pace_s)
        usage = {"prompt_tokens": size, "completion_tokens": n_pieces}
        self._event(
            {"choices": [{"delta": {}, "finish_reason": self.server.finish_reason}], "usage": usage}
        )
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, chunk: dict) -> None:
        self.wfile.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        self.wfile.flush()

    def _has_key(self) -> bool:
        is_right = self.headers.get("Authorization") == f"Bearer {self.server.key}"
        if not is_right:
            self._send(401, {"error": {"message": "wrong key"}})
        return is_right

    def _send(self, status: int, data: dict) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass
