import contextlib
import socket
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtool.hub.wire import MAX_HEAD_BYTES, Chunks, ProtocolError, Wire, parse_head


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    ours.settimeout(5)
    with ours, theirs:
        yield Wire(ours), theirs


def answer(theirs: socket.socket, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError):  # the reader may have had enough
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)


def read(wire, piece_bytes=7) -> bytes:
    body, view = b"", memoryview(bytearray(piece_bytes))
    while count := wire.read_into(view):
        body += view[:count]
    return body


def test_head_and_body_come_apart(pair):
    wire, theirs = pair
    answer(
        theirs, b'HTTP/1.1 206 Partial Content\r\nContent-Length: 10\r\nETag: "x"\r\n\r\n0123456789'
    )
    head = wire.read_head()
    assert (head.status, head.length, head.is_kept) == (206, 10, True)
    assert head.headers.get("etag") == '"x"'
    assert read(wire) == b"0123456789"


def test_head_is_whole_when_it_comes_byte_by_byte(pair):
    wire, theirs = pair
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n":
        theirs.sendall(bytes([byte]))
    assert wire.read_head().length == 0


def test_interim_responses_are_passed_over(pair):
    wire, theirs = pair
    answer(theirs, b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")
    assert wire.read_head().status == 200


@pytest.mark.parametrize("piece", [b"X", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_head_that_never_ends_is_given_up(pair, monkeypatch, piece):
    monkeypatch.setattr("qtool.hub.wire.HEAD_TIMEOUT_S", 0.1)
    wire, theirs = pair
    stop = threading.Event()

    def trickle():
        with contextlib.suppress(OSError):
            while not stop.wait(0.02):
                theirs.sendall(piece)

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        with pytest.raises(TimeoutError, match="headers"):
            wire.read_head()
    finally:
        stop.set()
        thread.join()


def test_body_may_take_its_time_after_the_head(pair, monkeypatch):
    monkeypatch.setattr("qtool.hub.wire.HEAD_TIMEOUT_S", 0.05)
    wire, theirs = pair
    theirs.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    wire.read_head()
    time.sleep(0.1)
    answer(theirs, b"2\r\nab\r\n0\r\n\r\n")
    view = memoryview(bytearray(2))
    assert Chunks(wire).read_into(view) == 2


def test_request_is_what_was_asked_for(pair):
    wire, theirs = pair
    wire.send("GET", "/a b/中?x=%20", {"Host": "h", "Range": "bytes=0-1"})
    expected = b"GET /a%20b/%E4%B8%AD?x=%20 HTTP/1.1\r\nHost: h\r\nRange: bytes=0-1\r\n\r\n"
    assert theirs.recv(1000) == expected


def test_line_break_in_a_header_is_never_sent(pair):
    wire, _ = pair
    with pytest.raises(ProtocolError):
        wire.send("GET", "/", {"Authorization": "Bearer x\r\nHost: evil"})


def test_end_without_an_answer_is_a_broken_connection(pair):
    wire, theirs = pair
    answer(theirs, b"HTTP/1.1 200 OK\r\nContent-")
    with pytest.raises(ConnectionError):
        wire.read_head()


@pytest.mark.parametrize("head", [b"X: y\r\n" * MAX_HEAD_BYTES, b"X" * 3 * MAX_HEAD_BYTES])
def test_endless_head_is_refused(pair, head):
    wire, theirs = pair
    thread = threading.Thread(target=lambda: answer(theirs, b"HTTP/1.1 200 OK\r\n" + head))
    thread.start()
    with pytest.raises(ProtocolError, match="more than"):
        wire.read_head()
    wire.socket.close()
    thread.join()


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["SSH-2.0-OpenSSH"],
        ["HTTP/2 200"],
        ["HTTP/1.1 ok"],
        ["HTTP/1.1 200 OK", "no colon"],
        ["HTTP/1.1 200 OK", "Name : x"],
        ["HTTP/1.1 200 OK", "Content-Length: -1"],
        ["HTTP/1.1 200 OK", "Content-Length: 1", "Content-Length: 2"],
    ],
)
def test_what_is_not_http_is_refused(lines):
    with pytest.raises(ProtocolError):
        parse_head(lines)


@pytest.mark.parametrize(
    ("lines", "is_kept"),
    [
        (["HTTP/1.1 200 OK"], True),
        (["HTTP/1.1 200 OK", "Connection: Close"], False),
        (["HTTP/1.0 200 OK"], False),
        (["HTTP/1.0 200 OK", "Connection: keep-alive"], True),
    ],
)
def test_whether_a_connection_is_kept(lines, is_kept):
    assert parse_head(lines).is_kept is is_kept


def test_header_in_two_lines_is_one():
    assert parse_head(["HTTP/1.1 200", "X: a", "  b"]).headers.get("x") == "a b"


def chunked(pieces, trailer=b""):
    parts = [b"%x;note\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
    return b"".join(parts) + b"0\r\n" + trailer + b"\r\n"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5), st.integers(1, 60))
def test_chunks_are_put_together(pieces, piece_bytes):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        answer(theirs, chunked(pieces, b"Trailer: x\r\n") + b"next")
        wire = Wire(ours)
        chunks = Chunks(wire)
        assert read(chunks, piece_bytes) == b"".join(pieces)
        assert chunks.is_complete
        assert read(wire) == b"next"


@pytest.mark.parametrize("body", [b"x\r\n", b"-5\r\nabc", b"3\r\nabcdef\r\n0\r\n\r\n"])
def test_wrong_chunks_are_refused(pair, body):
    wire, theirs = pair
    answer(theirs, body)
    with pytest.raises(ProtocolError):
        read(Chunks(wire))


@pytest.mark.parametrize("body", [b"5\r\nab", b"5\r\nabcde\r\n", b"5"])
def test_chunks_that_end_early_are_a_broken_connection(pair, body):
    wire, theirs = pair
    answer(theirs, body)
    with pytest.raises(ConnectionError):
        read(Chunks(wire))


def test_fill_takes_what_is_at_hand_in_one_call(pair):
    wire, theirs = pair
    theirs.sendall(b"a" * 1000)
    theirs.sendall(b"b" * 1000)
    buffer = memoryview(bytearray(4096))
    assert wire.fill(buffer, 2000) == 2000
    assert bytes(buffer[:2000]) == b"a" * 1000 + b"b" * 1000


def test_fill_does_not_hold_back_bytes_that_had_to_be_waited_for(pair):
    wire, theirs = pair
    later = threading.Timer(0.05, theirs.sendall, [b"late"])
    later.start()
    assert wire.fill(memoryview(bytearray(4096)), 4096) == len(b"late")
    later.join()


def test_fill_returns_the_good_bytes_and_fails_at_the_next_call(pair):
    wire, theirs = pair
    wire.socket.settimeout(0.05)
    theirs.sendall(b"good")
    buffer = memoryview(bytearray(4096))
    assert wire.fill(buffer, 4096) == len(b"good")
    began_s = time.monotonic()
    with pytest.raises(TimeoutError):
        wire.fill(buffer, 4096)
    assert time.monotonic() - began_s < 0.04  # it is not waited for twice


def test_fill_ends_with_the_other_side(pair):
    wire, theirs = pair
    theirs.sendall(b"last")
    theirs.close()
    buffer = memoryview(bytearray(4096))
    assert wire.fill(buffer, 4096) == len(b"last")
    assert wire.fill(buffer, 4096) == 0
