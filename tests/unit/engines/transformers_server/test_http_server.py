"""The HTTP side on a real socket, with a worker that writes what it is told."""

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from qtool.chat.client import stream_chat
from qtool.chat.messages import Message, Role
from qtool.chat.queries import count_tokens, render_prompt
from qtool.chat.request import Sampling
from qtool.chat.stream import Delta, ReplyEnd
from qtool.engines.base import Endpoint
from qtool.engines.transformers_server import http_server
from qtool.engines.transformers_server.http_server import ApiServer
from qtool.engines.transformers_server.jobs import Job, WaitingLine
from qtool.engines.transformers_server.reasoning import Piece
from qtool.engines.transformers_server.refusal import Refusal, context_full
from qtool.engines.transformers_server.reply import Outcome, Rendered
from qtool.engines.transformers_server.status import Status
from qtool.errors import NetworkError

OUTCOME = Outcome("stop", 9, 4, 3, prompt_s=0.5, decode_s=1.0)
HELLO = {"messages": [{"role": "user", "content": "hello"}]}
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n%s"
MESSAGES = [Message(Role.USER, "hello")]


def write_reply(job: Job) -> None:
    for text in ("你", "好"):
        job.put(Piece(text))
    job.put(OUTCOME)


class Server:
    """The server and a client's view of it."""

    def __init__(
        self, answer: Callable[[Job], None], max_waiting: int = 2, host: str = "127.0.0.1"
    ) -> None:
        self.line = WaitingLine(max_waiting)
        self.status = Status()
        self.api = ApiServer(0, "secret", "m", self.status, self.line, host)
        threading.Thread(target=self.api.serve_forever, args=(0.01,), daemon=True).start()
        threading.Thread(target=self.line.serve, args=(answer,), daemon=True).start()
        self.status.ready(self.api.url)
        self.endpoint = Endpoint(self.api.url, "secret", "m", "transformers")

    def ask(
        self, path: str, body: object = None, **headers: str
    ) -> tuple[int, dict[str, object], "http.client.HTTPMessage"]:
        connection = http.client.HTTPConnection(self.api.url.removeprefix("http://"), timeout=10)
        data = None if body is None else json.dumps(body)
        given = {"Authorization": "Bearer secret", **headers}
        connection.request("GET" if data is None else "POST", path, data, given)
        with contextlib.closing(connection), connection.getresponse() as response:
            return response.status, json.loads(response.read()), response.headers


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    started: list[Server] = []

    def begin(*arguments: object) -> Server:
        started.append(Server(*arguments))
        return started[-1]

    yield begin
    for server in started:
        server.api.shutdown()
        server.api.server_close()


def test_stream_is_what_the_client_of_qtool_reads(start: Callable[..., Server]):
    server = start(write_reply)
    pieces = list(stream_chat(server.endpoint, MESSAGES, Sampling()))
    assert pieces == [Delta("你"), Delta("好"), ReplyEnd("stop", 9, 3, 4, 2.0)]


def test_whole_reply_has_text_usage_and_timings(start: Callable[..., Server]):
    status, body, _ = start(write_reply).ask("/v1/chat/completions", HELLO)
    assert status == 200
    assert body["choices"] == [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "你好"},
        }
    ]
    assert body["usage"]["total_tokens"] == 12
    assert body["timings"]["cache_n"] == 4


def test_bare_text_is_completed(start: Callable[..., Server]):
    _, body, _ = start(write_reply).ask("/v1/completions", {"prompt": "once"})
    assert body["choices"][0]["text"] == "你好"


@pytest.mark.parametrize("key", ["", "Bearer wrong", "Basic secret", "Bearer sécret"])
def test_without_its_key_nobody_is_answered(start: Callable[..., Server], key: str):
    server = start(write_reply)
    for path, body in (("/v1/models", None), ("/v1/chat/completions", HELLO), ("/x", None)):
        status, answer, _ = server.ask(
            path, body, Authorization=key.encode("latin-1").decode("latin-1")
        )
        assert status == 401
        assert answer["error"]["type"] == "authentication_error"


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example:80"}],
)
def test_foreign_page_is_refused_even_with_the_key(
    start: Callable[..., Server], headers: dict[str, str]
):
    status, _, answered = start(write_reply).ask("/v1/chat/completions", HELLO, **headers)
    assert status == 403
    assert "Access-Control-Allow-Origin" not in answered


def test_server_for_other_machines_goes_by_any_name_and_wants_the_key(start: Callable[..., Server]):
    server = start(write_reply, 2, "0.0.0.0")
    assert server.ask("/v1/models", None, Host="model.example:80")[0] == 200
    assert (
        server.ask("/v1/models", None, Host="model.example:80", Authorization="Bearer x")[0] == 401
    )
    assert server.ask("/v1/models", None, Origin="https://evil.example")[0] == 403


def test_own_origin_is_let_in(start: Callable[..., Server]):
    server = start(write_reply)
    assert server.ask("/v1/models", None, Origin=server.api.url)[0] == 200


def test_state_is_public_and_reasons_are_not(start: Callable[..., Server]):
    server = start(write_reply)
    server.status.failed("OSError", "no file /home/ada/model")
    assert server.ask("/health", None, Authorization="")[1] == {"status": "failed"}
    status, body, _ = server.ask("/health")
    assert (status, body["error"]) == (503, "no file /home/ada/model")
    status, body, _ = server.ask("/v1/chat/completions", HELLO)
    assert status == 503
    assert "/home/ada/model" in body["error"]["message"]


def test_while_the_model_loads_health_tells_how_far_it_is(start: Callable[..., Server]):
    server = start(write_reply)
    server.api.status = Status()
    server.api.status.progress("weights", 0.25)
    progress = {"stage": "weights", "fraction": 0.25}
    assert server.ask("/health")[:2] == (503, {"status": "loading", "progress": progress})
    assert server.ask("/v1/models")[0] == 200
    status, body, _ = server.ask("/v1/chat/completions", HELLO)
    assert (status, body["error"]["type"]) == (503, "unavailable_error")


def test_refusal_before_the_first_token_has_its_status(start: Callable[..., Server]):
    server = start(lambda job: job.put(context_full(99, 50)))
    for stream in (False, True):
        status, body, _ = server.ask("/v1/chat/completions", {**HELLO, "stream": stream})
        assert status == 400
        assert body["error"]["type"] == "exceed_context_size_error"
        assert (body["error"]["n_prompt_tokens"], body["error"]["n_ctx"]) == (99, 50)


def test_refusal_in_mid_reply_is_an_event(start: Callable[..., Server]):
    def fail(job: Job) -> None:
        job.put(Piece("so far"))
        job.put(Refusal(500, "server_error", "it broke"))

    stream = stream_chat(start(fail).endpoint, MESSAGES, Sampling())
    assert next(stream) == Delta("so far")
    with pytest.raises(NetworkError, match="it broke"):
        next(stream)


@pytest.mark.parametrize("is_streaming", [False, True])
def test_job_is_cancelled_when_its_client_goes(start: Callable[..., Server], is_streaming: bool):
    ended = threading.Event()

    def write_on(job: Job) -> None:
        while not job.is_cancelled:
            job.put(Piece("x"))
            time.sleep(0.005)
        ended.set()

    server = start(write_on)
    body = json.dumps({**HELLO, "stream": is_streaming}).encode()
    with socket.create_connection(("127.0.0.1", server.api.server_port)) as client:
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer secret"
            b"\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        time.sleep(0.1)
        assert not ended.is_set()
    assert ended.wait(1)


def test_line_is_bounded_and_those_who_leave_it_are_skipped(start: Callable[..., Server]):
    served: list[Job] = []
    gate = threading.Event()

    def wait(job: Job) -> None:
        served.append(job)
        gate.wait(10)
        write_reply(job)

    server = start(wait, 1)
    threads = [
        threading.Thread(target=server.ask, args=("/v1/chat/completions", HELLO)) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
        time.sleep(0.1)
    status, body, _ = server.ask("/v1/chat/completions", HELLO)
    assert (status, body["error"]["type"]) == (503, "unavailable_error")
    gate.set()
    for thread in threads:
        thread.join(5)
    assert len(served) == 2


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (POST + b"\r\n", 411),
        (POST + b"Content-Length: 9999999999\r\n\r\n", 413),
        (POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
        (POST + b"Content-Length: 2\r\n\r\n[]", 400),
        (POST + b"Content-Length: 2\r\n\r\n{x", 400),
        (b"GET /v1/nothing HTTP/1.1\r\nHost: localhost\r\n%s\r\n", 404),
        (b"OPTIONS /v1/models HTTP/1.1\r\nHost: localhost\r\n%s\r\n", 501),
        (b"GET /v1/models HTTP/1.1\r\n%s\r\n", 403),
    ],
)  # fmt: skip
def test_malformed_request_is_answered_with_its_status(
    start: Callable[..., Server], raw: bytes, status: int
):
    server = start(write_reply)
    with socket.create_connection(("127.0.0.1", server.api.server_port)) as client:
        client.sendall(raw % b"Authorization: Bearer secret\r\n")
        client.settimeout(5)
        assert client.recv(4096).split()[1] == str(status).encode()


@pytest.mark.parametrize(
    ("begin", "status"),
    [
        (b"GET /v1/models HT", None),
        (b"GET /v1/models HTTP/1.1\r\nX: ", None),
        (POST % b"Authorization: Bearer secret\r\nContent-Length: 999\r\n\r\n{", b"408"),
    ],
)
def test_request_that_drips_is_ended(
    start: Callable[..., Server],
    monkeypatch: pytest.MonkeyPatch,
    begin: bytes,
    status: bytes | None,
):
    for name in ("HEAD_TIMEOUT_S", "BODY_TIMEOUT_S"):
        monkeypatch.setattr(http_server, name, 0.3)
    server = start(write_reply)
    with socket.create_connection(("127.0.0.1", server.api.server_port)) as client:
        client.sendall(begin)
        client.settimeout(0.05)
        until, answer = time.monotonic() + 10, None
        while answer is None and time.monotonic() < until:
            with contextlib.suppress(TimeoutError, ConnectionError):
                client.sendall(b"a")
                answer = client.recv(4096)
    assert answer is not None, "it waits on"
    assert status is None or status in answer.split(b"\n")[0]


def test_connections_without_a_key_make_room(
    start: Callable[..., Server],
):
    server = start(write_reply)
    with contextlib.ExitStack() as opened:
        for _ in range(http_server.MAX_CONNECTIONS + 5):
            one = socket.create_connection(("127.0.0.1", server.api.server_port))
            opened.enter_context(one).sendall(b"GET /v1/models HTTP/1.1\r\nX: ")
        for _ in range(3):
            assert server.ask("/v1/models")[0] == 200


def show_prompt(job: Job) -> None:
    assert job.request.only_renders
    if job.request.messages is None:
        job.put(Rendered(str(job.request.prompt), [7, 8]))
    else:
        job.put(Rendered(f"<{job.request.messages[0]['content']}>", [1]))


def test_prompt_is_shown_as_llama_cpp_shows_it(start: Callable[..., Server]):
    server = start(show_prompt)
    assert render_prompt(server.endpoint, MESSAGES) == "<hello>"
    assert count_tokens(server.endpoint, "two tokens") == 2
    assert server.ask("/tokenize", {"content": 5})[0] == 400
    assert server.ask("/apply-template", HELLO, Authorization="")[0] == 401


def test_template_that_refuses_is_told_to_who_wants_to_see_the_prompt(
    start: Callable[..., Server],
):
    refusal = Refusal(400, "invalid_request_error", "the template refuses these messages")
    status, body, _ = start(lambda job: job.put(refusal)).ask("/apply-template", HELLO)
    assert (status, body["error"]["message"]) == (400, refusal.message)
