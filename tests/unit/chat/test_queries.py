"""Side questions to servers that answer anything."""

import http.server
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from qtool.chat import queries
from qtool.chat.client import FOREIGN
from qtool.chat.queries import find_context_length, find_defaults, list_models
from qtool.engines.base import Endpoint, EngineKind
from qtool.errors import NetworkError


class Server(http.server.ThreadingHTTPServer):
    """Answers everything with ``answer``; ``gap_s`` passes between its bytes."""

    status, answer, gap_s, headers = 200, b"", 0.0, ()


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.send_response(self.server.status)
        for name, value in self.server.headers:
            self.send_header(name, value)
        self.end_headers()
        try:
            for byte in self.server.answer if self.server.gap_s else ():
                self.wfile.write(bytes([byte]))
                time.sleep(self.server.gap_s)
            if not self.server.gap_s:
                self.wfile.write(self.server.answer)
        except ConnectionError:
            pass

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def at(server: Server) -> Endpoint:
    return Endpoint(f"http://127.0.0.1:{server.server_port}", "k", "m", FOREIGN)


@pytest.mark.parametrize(
    ("status", "answer", "words"),
    [
        (500, b'{"error": {"message": "boom"}}', "500: boom"),
        (500, b'{"error": "plain"}', "500: plain"),
        (500, b"[1]", "500: .1."),
        (302, b"", "302"),
        (200, b"<html>", "200: no JSON: b'<html>'"),
        (200, b"[" * 200_000, "no JSON"),
        (200, b'{"data": 5}', "no list of models"),
        (200, b'{"data": "abc"}', "no list of models"),
        (200, b"[1]", "no list of models"),
    ],
)
def test_answer_that_is_no_list_of_models_is_told(
    server: Server, status: int, answer: bytes, words: str
):
    server.status, server.answer = status, answer
    with pytest.raises(NetworkError, match=words):
        list_models(at(server))
    assert find_context_length(at(server)) is None


def test_answer_that_drips_is_cut_off(server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(queries, "TIMEOUT_S", 0.3)
    server.answer, server.gap_s = b" " * 100, 0.05
    began = time.monotonic()
    with pytest.raises(NetworkError, match=r"lost the server .* within 0\.3 s"):
        list_models(at(server))
    assert time.monotonic() - began < 4


def test_negative_size_of_a_chunk_is_a_network_error(server: Server):
    server.headers, server.answer = [("Transfer-Encoding", "chunked")], b"-5\r\nabc\r\n"
    with pytest.raises(NetworkError):
        list_models(at(server))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (
            b'{"default_generation_settings": {"params": {"top_k": 40, "min_p": "x", "seed": 1}}}',
            {"top_k": 40},
        ),
        (b'{"default_generation_settings": {"params": []}}', {}),
        (b"[]", {}),
        (b"no JSON", {}),
    ],
)
def test_values_that_llama_cpp_draws_by_are_read_as_far_as_they_are_numbers(
    server: Server, answer: bytes, expected: dict[str, float]
):
    server.answer = answer
    assert find_defaults(replace(at(server), engine=EngineKind.LLAMA_CPP)) == expected
    assert find_defaults(at(server)) == {}, "other servers are not asked"
