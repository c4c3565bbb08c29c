"""Range headers and raw requests."""

import contextlib
import socket
from urllib.parse import urlsplit

import pytest

from tests.hub import LoopbackHub, Repo
from tests.hub.wire import parse_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-0", (0, 1)),
        ("bytes=10-19", (10, 20)),
        ("bytes=90-", (90, 100)),
        ("bytes=90-1000", (90, 100)),
        ("bytes=-5", (95, 100)),
        ("bytes=-500", (0, 100)),
        ("bytes=5-2", None),
        ("bytes=0-1,5-6", None),
        ("bytes=a-b", None),
        ("bytes=-", None),
        ("lines=1-2", None),
    ],
)
def test_range_is_read_as_the_rfc_says(
    header: str | None, expected: tuple[int, int] | None
) -> None:
    assert parse_range(header, 100) == expected


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=500-600", "bytes=-0"])
def test_range_outside_is_refused(header: str) -> None:
    with pytest.raises(ValueError, match="outside"):
        parse_range(header, 100)


def raw_exchange(hub: LoopbackHub, request: bytes) -> bytes:
    parts = urlsplit(hub.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=5) as sock:
        sock.sendall(request)
        sock.shutdown(socket.SHUT_WR)
        received = b""
        while data := sock.recv(65536):
            received += data
        return received


def test_pipelined_requests_are_answered_in_order() -> None:
    with LoopbackHub([Repo("o/n", {"a": b"first", "b": b"second"})]) as hub:
        request = b"GET /o/n/resolve/main/%s HTTP/1.1\r\nHost: x\r\n\r\n"
        reply = raw_exchange(hub, request % b"a" + request % b"b")
    assert reply.index(b"first") < reply.index(b"second")


def test_connection_close_is_honoured() -> None:
    with LoopbackHub([Repo("o/n", {"a": b"first"})]) as hub:
        request = b"GET /o/n/resolve/main/a HTTP/1.1\r\nConnection: close\r\n\r\n"
        reply = raw_exchange(hub, request * 2)
    assert reply.count(b"first") == 1


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01 hello\r\n\r\n", b"GET\r\n\r\n", b"x" * 70_000])
def test_garbage_ends_the_connection_only(garbage: bytes) -> None:
    with LoopbackHub([Repo("o/n", {"a": b"first"})]) as hub:
        with contextlib.suppress(ConnectionResetError):  # closed with garbage unread
            assert raw_exchange(hub, garbage) == b""
        request = b"GET /o/n/resolve/main/a HTTP/1.1\r\n\r\n"
        assert raw_exchange(hub, request).endswith(b"first")
