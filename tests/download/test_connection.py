import contextlib
import threading
import time

import pytest

from qtool.errors import NetworkError
from qtool.hub.connection import WIRE_ERRORS, AbortedError, ConnectionPool
from qtool.hub.origin import Origin, redact
from tests.hub import Fault, FaultKind, Generated, Repo
from tests.hub.proxy import HttpProxy

BODY = bytes(range(256)) * 40
PATH = "/org/name/resolve/main/a.txt"


@pytest.fixture
def pool():
    pool = ConnectionPool(stall_timeout_s=0.5)
    yield pool
    pool.close()


@pytest.fixture
def hub(hub_factory):
    return hub_factory([Repo("org/name", {"a.txt": BODY})])


def read(exchange, piece_bytes=1000):
    body, view = b"", memoryview(bytearray(piece_bytes))
    while count := exchange.read_into(view):
        body += view[:count]
    exchange.close()
    return body


@pytest.mark.parametrize("piece_bytes", [1, 100, 8192, 10_000, 1 << 20])
def test_body_is_whole_whatever_the_buffer(hub, pool, piece_bytes):
    assert read(pool.get(hub.url + PATH, {}), piece_bytes) == BODY


@pytest.mark.parametrize("piece_bytes", [7, 1 << 16])
def test_chunked_body_is_whole(hub, pool, piece_bytes):
    hub.add_fault(Fault(FaultKind.CHUNKED, times=None))
    exchange = pool.get(hub.url + PATH, {})
    assert exchange.remaining is None
    assert read(exchange, piece_bytes) == BODY


def test_connection_is_kept_after_a_body_read_to_its_end(hub, pool):
    for _ in range(5):
        read(pool.get(hub.url + PATH, {}))
    assert hub.connections("hub")[2] == 1


def test_connection_is_closed_after_a_body_left_unread(hub, pool):
    for _ in range(3):
        pool.get(hub.url + PATH, {}).close()
    assert read(pool.get(hub.url + PATH, {})) == BODY
    assert hub.connections("hub")[2] == 4


def test_kept_connection_that_the_server_closed_is_replaced(hub, pool):
    read(pool.get(hub.url + PATH, {}))
    hub.refuse("hub")
    hub.revive("hub")
    assert read(pool.get(hub.url + PATH, {})) == BODY


def test_silence_ends_in_a_timeout(hub, pool):
    hub.add_fault(Fault(FaultKind.STALL, at=0.5))
    exchange = pool.get(hub.url + PATH, {})
    started_at = time.monotonic()
    with pytest.raises(TimeoutError):
        read(exchange)
    exchange.close()
    assert time.monotonic() - started_at < 2


def test_abort_wakes_a_waiting_thread_and_opens_no_more(hub_factory):
    hub = hub_factory([Repo("org/name", {"a.txt": BODY})])
    hub.add_fault(Fault(FaultKind.STALL, at=0, times=None))
    pool = ConnectionPool(stall_timeout_s=30)
    exchange = pool.get(hub.url + PATH, {})
    threading.Timer(0.2, pool.abort).start()
    started_at = time.monotonic()
    with contextlib.suppress(*WIRE_ERRORS):
        read(exchange)
    exchange.close()
    assert time.monotonic() - started_at < 2
    with pytest.raises(AbortedError):
        pool.get(hub.url + PATH, {})


def test_answer_longer_than_the_limit_is_refused(hub_factory, pool):
    hub = hub_factory([Repo("org/name", {"a.txt": Generated(500_000)})])
    with pytest.raises(NetworkError, match="more than 1000 bytes"):
        pool.get(hub.url + PATH, {}).read_all(1000)


@pytest.mark.parametrize("url", ["ftp://x", "http://", "nothing", "http://x:port/"])
def test_address_that_is_not_http_is_refused(url):
    with pytest.raises(NetworkError):
        Origin.of(url)


def test_signature_of_a_link_is_kept_out_of_sight():
    assert redact("https://cdn/x?Signature=secret") == "https://cdn/x?…"


@pytest.fixture
def proxy(monkeypatch):
    with HttpProxy() as proxy:
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("no_proxy", "")
        yield proxy


AUTHORIZATION = "Proxy-Authorization: Basic YWRhOnBAc3M="


def test_plain_request_goes_through_the_proxy(hub, pool, proxy):
    assert read(pool.get(hub.url + PATH, {})) == BODY
    assert proxy.heads[0].startswith(f"GET {hub.url}{PATH} HTTP/1.1")
    assert AUTHORIZATION in proxy.heads[0]


def test_encrypted_request_is_tunnelled(hub_factory, pool, proxy, monkeypatch):
    from qtool.hub.sockets import tls_context

    hub = hub_factory([Repo("org/name", {"a.txt": BODY})], tls=True, tokens={"hf_t": "ada"})
    monkeypatch.setenv("SSL_CERT_FILE", str(hub.ca_file))
    tls_context.cache_clear()
    try:
        assert read(pool.get(hub.url + PATH, {"Authorization": "Bearer hf_t"})) == BODY
    finally:
        tls_context.cache_clear()
    assert proxy.heads[0].startswith("CONNECT 127.0.0.1:")
    assert AUTHORIZATION in proxy.heads[0]
    assert "Bearer" not in proxy.heads[0]
    assert not any("proxy-authorization" in request.headers for request in hub.requests)


@pytest.mark.parametrize(
    "url",
    ["http://" + "a" * 70 + ".example/", "http://é" + "a" * 63, "http://a..é", "http://[::1", "//"],
)
def test_address_that_no_socket_takes_is_a_network_error(url):
    with pytest.raises(NetworkError):
        Origin.of(url)


def test_international_host_is_asked_for_by_its_ascii_name():
    assert Origin.of("http://bücher.example").host == "xn--bcher-kva.example"


def test_answer_that_trickles_is_given_up(hub, pool, monkeypatch):
    monkeypatch.setattr("qtool.hub.exchange.ANSWER_S", 0.0)
    monkeypatch.setattr("qtool.hub.exchange.SLOWEST_BYTES_PER_S", 1e9)
    with pytest.raises(NetworkError, match="too slowly"):
        pool.get(hub.url + PATH, {}).read_all(1 << 20)
