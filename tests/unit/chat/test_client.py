"""The client against a real socket that answers as told, and its parsers against anything."""

import io
import itertools
import json
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtool.chat import client, deadline
from qtool.chat.client import ContextFullError, TemplateRefusedError, stream_chat
from qtool.chat.messages import Message, Role
from qtool.chat.reasoning import split_reasoning
from qtool.chat.request import Sampling
from qtool.chat.stream import Delta, ReplyEnd, read_events, read_reply
from qtool.engines.base import Endpoint
from qtool.errors import AuthError, IntegrityError, NetworkError, UsageError

HELLO = [Message(Role.USER, "hello")]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


def event(**chunk: object) -> bytes:
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"


def piece(text: str, **extra: object) -> bytes:
    return event(choices=[{"delta": {"content": text}, "finish_reason": None}], **extra)


@contextmanager
def answering(*parts: bytes | Iterable[bytes]) -> Iterator[tuple[Endpoint, list[bytes]]]:
    """Serve one request with ``parts``, then close; yield the endpoint and what was asked."""
    asked: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            request = b""
            while b"\r\n\r\n" not in request or len(request) < _length(request):
                request += connection.recv(65536)
            asked.append(request)
            with suppress(ConnectionError):
                for part in parts:
                    for piece in [part] if isinstance(part, bytes) else part:
                        connection.sendall(piece)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield Endpoint(url, "secret", "m.gguf", "llama.cpp"), asked
        thread.join(5)


def _length(request: bytes) -> int:
    head, _, _ = request.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    return len(head) + 4 + int(fields[b"content-length"])


def test_engine_is_asked_directly_whatever_proxies_are_set(monkeypatch):
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    stop = event(choices=[{"delta": {}, "finish_reason": "stop"}])
    with answering(HEAD, piece("hi"), stop, b"data: [DONE]\n\n") as (at, _):
        assert next(stream_chat(at, HELLO, Sampling())) == Delta("hi")


def test_pieces_come_in_order_and_end_with_the_figures():
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 4},
    }
    last = event(choices=[], usage=usage, timings={"predicted_per_second": 90.5})
    stop = event(choices=[{"delta": {}, "finish_reason": "stop"}])
    with answering(HEAD, piece("你"), piece("好"), stop, last, b"data: [DONE]\n\n") as (at, _):
        assert list(stream_chat(at, HELLO, Sampling())) == [
            Delta("你"),
            Delta("好"),
            ReplyEnd("stop", 9, 2, 4, 90.5),
        ]


def test_reasoning_is_told_apart():
    thought = event(choices=[{"delta": {"reasoning_content": "hm"}, "finish_reason": None}])
    with answering(HEAD, thought, piece("yes"), b"data: [DONE]\n\n") as (at, _):
        pieces = list(stream_chat(at, HELLO, Sampling()))
    assert pieces[:2] == [Delta("hm", is_reasoning=True), Delta("yes")]


def test_request_carries_key_messages_and_only_the_sampling_that_was_asked():
    with answering(HEAD, b"data: [DONE]\n\n") as (at, asked):
        list(stream_chat(at, HELLO, Sampling(max_new_tokens=7, temperature=0.0, stop=("END",))))
    head, _, body = asked[0].partition(b"\r\n\r\n")
    assert b"Authorization: Bearer secret" in head
    request = json.loads(body)
    assert request["messages"] == [{"role": "user", "content": "hello"}]
    assert (request["max_tokens"], request["temperature"], request["stop"]) == (7, 0.0, ["END"])
    assert "top_p" not in request


def test_characters_split_between_packets_stay_whole():
    whole = piece("你好👋")
    with answering(HEAD, *(bytes([byte]) for byte in whole), b"data: [DONE]\n\n") as (at, _):
        assert next(iter(stream_chat(at, HELLO, Sampling()))) == Delta("你好👋")


def test_engine_that_goes_in_mid_reply_is_an_error_after_what_it_said():
    with answering(HEAD, piece("half")) as (at, _):
        pieces = stream_chat(at, HELLO, Sampling())
        assert next(pieces) == Delta("half")
        with pytest.raises(NetworkError, match="mid-reply"):
            next(pieces)


@pytest.mark.parametrize(
    ("status", "error", "kind", "words"),
    [
        (401, {"message": "Invalid API Key"}, AuthError, "Invalid API Key"),
        (
            400,
            {"message": "too long", "type": "exceed_context_size_error"},
            ContextFullError,
            "too",
        ),
        (
            400,
            {"message": "too long", "code": "context_length_exceeded"},
            ContextFullError,
            "too",
        ),
        (
            400,
            {"message": "This model's maximum context length is 10 tokens"},
            ContextFullError,
            "length is 10",
        ),
        (500, {"message": "boom"}, NetworkError, "500: boom"),
        (500, {"message": "do not fit", "type": "model_error"}, IntegrityError, "do not fit"),
        (400, {"message": "roles must alternate"}, TemplateRefusedError, "roles must"),
        (400, {"message": "the chat template was stopped after 5 s"}, UsageError, "stopped"),
    ],
)
def test_refusals_are_told_apart(status: int, error: dict[str, str], kind: type, words: str):
    body = json.dumps({"error": error}).encode()
    head = f"HTTP/1.1 {status} No\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with answering(head + body) as (at, _), pytest.raises(kind, match=words):
        list(stream_chat(at, HELLO, Sampling()))


def test_template_that_ran_into_a_bound_is_not_tried_with_other_messages():
    body = json.dumps({"error": {"message": "the chat template was stopped after 5 s"}}).encode()
    head = f"HTTP/1.1 400 No\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with answering(head + body) as (at, _), pytest.raises(UsageError) as caught:
        list(stream_chat(at, HELLO, Sampling()))
    assert not isinstance(caught.value, TemplateRefusedError)


def drip(head: bytes, drops: bytes = b" " * 100) -> Iterator[bytes]:
    yield head
    for drop in drops:
        time.sleep(0.05)
        yield bytes([drop])


def test_error_that_drips_is_cut_off(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(client, "ERROR_TIMEOUT_S", 0.3)
    parts = drip(b"HTTP/1.1 500 No\r\nConnection: close\r\n\r\n")
    began = time.monotonic()
    with answering(parts) as (at, _), pytest.raises(NetworkError, match=r"within 0\.3 s"):
        list(stream_chat(at, HELLO, Sampling()))
    assert time.monotonic() - began < 4


def test_head_that_drips_is_cut_off(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(deadline, "HEAD_TIMEOUT_S", 0.3)
    began = time.monotonic()
    parts = drip(b"HTTP/1.1 200 OK\r\n", b"X-Slow: yes\r\n" * 9)
    with answering(parts) as (at, _), pytest.raises(NetworkError, match=r"within 0\.3 s"):
        list(stream_chat(at, HELLO, Sampling()))
    assert time.monotonic() - began < 4


def test_head_may_be_long_in_coming(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(deadline, "HEAD_TIMEOUT_S", 0.3)

    def late() -> Iterator[bytes]:
        time.sleep(0.6)  # the prompt is long
        yield HEAD

    with answering(late(), piece("hi"), b"data: [DONE]\n\n") as (at, _):
        assert next(stream_chat(at, HELLO, Sampling())) == Delta("hi")


def test_negative_size_of_a_chunk_is_a_network_error():
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabc\r\n"
    with answering(head) as (at, _), pytest.raises(NetworkError, match="lost the"):
        list(stream_chat(at, HELLO, Sampling()))


def test_event_without_an_end_does_not_fill_the_memory():
    lines = itertools.repeat(b"data: " + b"x" * 60_000 + b"\n")
    with pytest.raises(NetworkError, match="an event of more than 16 MiB"):
        next(read_events(lines))


def test_refusal_without_json_shows_what_came():
    answer = b"HTTP/1.1 502 Bad\r\nContent-Length: 5\r\n\r\n<html"
    with answering(answer) as (at, _), pytest.raises(NetworkError, match="502: <html"):
        list(stream_chat(at, HELLO, Sampling()))


def test_engine_that_is_not_there_is_a_network_error():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    at = Endpoint(f"http://127.0.0.1:{port}", "k", "m", "llama.cpp")
    with pytest.raises(NetworkError, match=f"127.0.0.1:{port}"):
        list(stream_chat(at, HELLO, Sampling()))


def test_events_of_several_lines_comments_and_carriage_returns():
    lines = [b": ping\r\n", b"data: a\r\n", b"data:b\r\n", b"id: 7\r\n", b"\r\n", b"data: c\n"]
    assert list(read_events(lines)) == ["a\nb"], "the last one was cut off"


REPLY = "你好👋, Größe\n```\nx\n```\n"
STREAM = (
    event(choices=[{"delta": {"role": "assistant", "content": None}}])
    + event(choices=[{"delta": {"reasoning_content": "hm 🤔"}}])
    + b"".join(piece(character) for character in REPLY)
    + event(choices=[{"delta": {}, "finish_reason": "stop"}], usage={"completion_tokens": 9})
    + b"data: [DONE]\n\n"
)


def read(data: bytes) -> tuple[str, ReplyEnd | None]:
    """Return what a stream of ``data`` says before its end, and the end."""
    text, end = "", None
    with suppress(NetworkError):
        for got in split_reasoning(read_reply(read_events(io.BytesIO(data)))):
            if isinstance(got, Delta) and not got.is_reasoning:
                text += got.text
            elif isinstance(got, ReplyEnd):
                end = got
    return text, end


def test_stream_cut_at_any_byte_says_what_came_and_never_more():
    n_needed = STREAM.rindex(b"data: [DONE]")
    for at in range(len(STREAM) + 1):
        text, end = read(STREAM[:at])
        assert REPLY.startswith(text), at
        assert (end is not None) == (at >= n_needed), at
        assert text == REPLY or end is None, at


@given(st.integers(0, len(STREAM) - 1), st.binary(min_size=1, max_size=4))
def test_damaged_stream_is_read_or_refused(at: int, damage: bytes):
    text, _ = read(STREAM[:at] + damage + STREAM[at + len(damage) :])
    assert len(text) <= len(REPLY) + 8


def test_line_without_an_end_is_refused_before_it_fills_the_memory(monkeypatch):
    for module in ("client", "stream"):
        monkeypatch.setattr(f"qtool.chat.{module}.MAX_LINE_BYTES", 5000)
    with (
        answering(HEAD, piece("a"), b"data: " + b"x" * 20_000) as (at, _),
        pytest.raises(NetworkError, match="a line of more than"),
    ):
        list(stream_chat(at, HELLO, Sampling()))


def test_reply_that_is_finished_needs_no_done():
    stop = event(choices=[{"delta": {}, "finish_reason": "stop"}])
    with answering(HEAD, piece("hi"), stop) as (at, _):
        assert list(stream_chat(at, HELLO, Sampling())) == [Delta("hi"), ReplyEnd("stop")]


@pytest.mark.parametrize("figure", [-1, 10**400, float("nan"), float("inf"), "9", None, True, []])
def test_figures_that_cannot_be_are_unknown(figure: object):
    usage = {"prompt_tokens": figure, "completion_tokens": figure}
    chunk = {"choices": [], "usage": usage, "timings": {"predicted_per_second": figure}}
    assert list(read_reply([json.dumps(chunk), "[DONE]"])) == [ReplyEnd(None)]


@given(st.lists(st.binary(max_size=40)))
def test_any_stream_gives_pieces_or_a_network_error(lines: list[bytes]):
    with suppress(NetworkError):
        for got in read_reply(read_events(line + b"\n" for line in lines)):
            assert isinstance(got, Delta | ReplyEnd)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["choices", "delta", "content", "usage", "timings", "error"]), inner
            )
        ),
    )
)
def test_any_json_gives_pieces_or_a_network_error(chunk: object):
    with suppress(NetworkError):
        for got in read_reply([json.dumps(chunk), "[DONE]"]):
            assert isinstance(got, Delta | ReplyEnd)
