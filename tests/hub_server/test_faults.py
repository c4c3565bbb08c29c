"""Every fault really happens, where and as often as it was asked for."""

import socket
import time
from collections.abc import Callable

import pytest

from tests.hub import Fault, FaultKind, Generated, LoopbackHub, Repo, read_content
from tests.hub.faults import Subject, strike_offset
from tests.hub.fixtures import HubFactory
from tests.hub_server.client import (
    Reply,
    cdn_link,
    fetch,
    fetch_on,
    fetch_range,
    open_connection,
)

SIZE = 3_000_000
MODEL = Generated(SIZE, seed=9)
DATA = read_content(MODEL)
HALF = SIZE // 2


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def hub(request: pytest.FixtureRequest, hub_factory: HubFactory) -> LoopbackHub:
    repo = Repo("org/name", {"model.gguf": MODEL, "config.json": b'{"a": 1}'})
    return hub_factory([repo], tls=request.param)


@pytest.fixture
def link(hub: LoopbackHub) -> str:
    found = cdn_link(f"{hub.url}/org/name/resolve/main/model.gguf", ca_file=hub.ca_file)
    hub.reset()
    return found


@pytest.fixture
def get(hub: LoopbackHub, link: str) -> Callable[..., Reply]:
    """Fetch model.gguf, or the bytes [start, stop) of it, from the CDN."""

    def fetch_model(start: int | None = None, stop: int = SIZE, timeout_s: float = 5) -> Reply:
        if start is None:
            return fetch(link, ca_file=hub.ca_file, timeout_s=timeout_s)
        return fetch_range(link, start, stop, ca_file=hub.ca_file, timeout_s=timeout_s)

    return fetch_model


Get = Callable[..., Reply]


@pytest.mark.parametrize(
    ("at", "received"), [(0, 0), (0.5, HALF), (1.0, SIZE - 1), (-10, SIZE - 10)]
)
def test_drop_ends_the_body_at_its_place_once(
    hub: LoopbackHub, get: Get, at: int | float, received: int
) -> None:
    hub.add_fault(Fault(FaultKind.DROP, path="*.gguf", at=at))
    broken = get()
    assert (broken.is_complete, broken.body) == (False, DATA[:received])
    assert get().body == DATA
    assert hub.bytes_sent("model.gguf") == received + SIZE
    assert [record.faults for record in hub.requests] == [(FaultKind.DROP,), ()]


def test_fault_of_the_file_waits_for_the_range_that_covers_it(hub: LoopbackHub, get: Get) -> None:
    hub.add_fault(Fault(FaultKind.DROP, at=HALF))
    assert get(0, HALF).body == DATA[:HALF]
    assert get(HALF + 1).body == DATA[HALF + 1 :]
    assert get(HALF - 5, SIZE).body == DATA[HALF - 5 : HALF]


def test_fault_of_the_response_strikes_each(hub: LoopbackHub, get: Get) -> None:
    hub.add_fault(Fault(FaultKind.DROP, at=0.5, of="response", times=None))
    assert get(0, 1000).body == DATA[:500]
    assert get(HALF, HALF + 100).body == DATA[HALF : HALF + 50]


def test_fault_happens_as_often_as_asked(hub: LoopbackHub, get: Get) -> None:
    hub.add_fault(Fault(FaultKind.UNAVAILABLE, times=3))
    assert [get(0, 1).status for _ in range(5)] == [503, 503, 503, 206, 206]


def test_reset_is_an_error_at_the_client(hub: LoopbackHub, get: Get) -> None:
    hub.add_fault(Fault(FaultKind.RESET, at=0.5))
    if hub.ca_file is None:
        with pytest.raises(ConnectionResetError):
            get()
    else:  # Python's ssl reports a reset as an early end
        assert not get().is_complete


def test_stall_keeps_the_connection_open(hub: LoopbackHub, get: Get) -> None:
    hub.add_fault(Fault(FaultKind.STALL, at=0.5))
    with pytest.raises(TimeoutError):
        get(timeout_s=0.3)
    assert hub.bytes_sent("model.gguf") == HALF
    assert get().body == DATA


@pytest.mark.parametrize(("at", "offset"), [(0, 0), (0.5, HALF), (1.0, SIZE - 1)])
def test_flip_changes_one_byte(get: Get, hub: LoopbackHub, at: int | float, offset: int) -> None:
    hub.add_fault(Fault(FaultKind.FLIP, path="model.gguf", at=at))
    body = get().body
    assert len(body) == SIZE
    assert body[offset] == DATA[offset] ^ 0xFF
    assert body[:offset] + body[offset + 1 :] == DATA[:offset] + DATA[offset + 1 :]


def test_two_faults_in_one_response_strike_in_order(hub: LoopbackHub, get: Get) -> None:
    hub.add_fault(Fault(FaultKind.DROP, at=0.5))
    hub.add_fault(Fault(FaultKind.FLIP, at=100))
    body = get().body
    assert len(body) == HALF
    assert body[100] == DATA[100] ^ 0xFF


def test_rate_limit_says_when_to_come_back(hub: LoopbackHub, get: Get) -> None:
    hub.add_fault(Fault(FaultKind.RATE_LIMITED, retry_after_s=7, role="cdn"))
    reply = get()
    assert (reply.status, reply.headers["Retry-After"]) == (429, "7")


def test_status_is_any_status(hub: LoopbackHub, get: Get) -> None:
    hub.add_fault(Fault(FaultKind.STATUS, status=502))
    assert get().status == 502


def test_expired_link_is_403_with_xml(hub: LoopbackHub, get: Get) -> None:
    hub.add_fault(Fault(FaultKind.EXPIRED, at=0.5))
    assert get(0, 10).status == 206
    reply = get(0, SIZE)
    assert (reply.status, reply.headers["Content-Type"]) == (403, "application/xml")


def test_login_page_is_html_with_200(hub: LoopbackHub, get: Get) -> None:
    hub.add_fault(Fault(FaultKind.LOGIN_PAGE))
    reply = get(0, 1000)
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("text/html")


def test_redirect_loop_leads_to_itself(hub: LoopbackHub, get: Get, link: str) -> None:
    hub.add_fault(Fault(FaultKind.REDIRECT_LOOP))
    reply = get()
    assert reply.status == 302
    assert link.endswith(reply.headers["Location"])


def test_redirect_leads_to_another_host(hub: LoopbackHub, get: Get) -> None:
    hub.add_fault(Fault(FaultKind.REDIRECT_HOST, target="http://127.0.0.2:1/"))
    assert get().headers["Location"].startswith("http://127.0.0.2:1/repos/")


def test_no_reply_ends_the_connection_without_a_head(hub: LoopbackHub, get: Get) -> None:
    hub.add_fault(Fault(FaultKind.NO_REPLY))
    with pytest.raises(ConnectionError):
        get()
    assert hub.requests[0].status is None


@pytest.mark.parametrize("kind", [FaultKind.SLOW_HEAD, FaultKind.DELAY])
def test_slow_response_takes_its_time(hub: LoopbackHub, get: Get, kind: FaultKind) -> None:
    hub.add_fault(Fault(kind, delay_s=0.2))
    started = time.monotonic()
    assert get(0, 10).body == DATA[:10]
    assert time.monotonic() - started >= 0.19


def test_short_length_is_a_consistent_lie(hub: LoopbackHub, get: Get) -> None:
    hub.add_fault(Fault(FaultKind.SHORT_LENGTH, count=100))
    reply = get(0, 1000)
    assert (reply.is_complete, reply.headers["Content-Length"]) == (True, "900")
    assert reply.headers["Content-Range"] == f"bytes 0-999/{SIZE}"
    assert reply.body == DATA[:900]


def test_long_length_pads_the_body(hub: LoopbackHub, get: Get) -> None:
    hub.add_fault(Fault(FaultKind.LONG_LENGTH, count=100))
    reply = get(0, SIZE)
    assert reply.headers["Content-Length"] == str(SIZE + 100)
    assert reply.body == DATA + b"\xff" * 100


def test_broken_length_ends_early(hub: LoopbackHub, get: Get) -> None:
    hub.add_fault(Fault(FaultKind.BROKEN_LENGTH, count=100))
    reply = get(0, 1000)
    assert reply.headers["Content-Length"] == "1100"
    assert (reply.is_complete, reply.body) == (False, DATA[:1000])


def test_ignored_range_is_the_whole_file(hub: LoopbackHub, get: Get) -> None:
    hub.add_fault(Fault(FaultKind.IGNORE_RANGE))
    reply = get(HALF, SIZE)
    assert (reply.status, reply.headers.get("Content-Range")) == (200, None)
    assert reply.body == DATA


@pytest.mark.parametrize(("start", "stop"), [(0, 5000), (HALF, HALF + 10), (SIZE - 3000, SIZE)])
def test_wrong_range_is_another_of_equal_length(
    hub: LoopbackHub, get: Get, start: int, stop: int
) -> None:
    honest = f"bytes {start}-{stop - 1}/{SIZE}"
    hub.add_fault(Fault(FaultKind.WRONG_RANGE))
    reply = get(start, stop)
    assert (reply.status, len(reply.body)) == (206, stop - start)
    assert reply.headers["Content-Range"] != honest
    shown = int(reply.headers["Content-Range"].split()[1].split("-")[0])
    assert reply.body == DATA[shown : shown + stop - start]


def test_misplaced_bytes_come_under_the_right_range(hub: LoopbackHub, get: Get) -> None:
    hub.add_fault(Fault(FaultKind.MISPLACED, count=4096))
    reply = get(0, 5000)
    assert reply.headers["Content-Range"] == f"bytes 0-4999/{SIZE}"
    assert reply.body == DATA[4096:9096]


def test_fault_of_ranges_waits_for_a_range(hub: LoopbackHub, get: Get) -> None:
    hub.add_fault(Fault(FaultKind.IGNORE_RANGE, path="model.gguf"))
    resolve = f"{hub.url}/org/name/resolve/main/model.gguf"
    assert fetch_range(resolve, 5, 10, ca_file=hub.ca_file).status == 302
    assert get().status == 200
    assert get(5, 10).status == 200
    assert get(5, 10).status == 206


def test_length_of_a_listing_can_be_wrong(hub: LoopbackHub) -> None:
    url = f"{hub.url}/api/models/org/name"
    honest = fetch(url, ca_file=hub.ca_file).body
    for kind, expected in [
        (FaultKind.SHORT_LENGTH, honest[:-7]),
        (FaultKind.LONG_LENGTH, honest + b"\xff" * 7),
    ]:
        hub.add_fault(Fault(kind, path="/api/*", count=7))
        assert fetch(url, ca_file=hub.ca_file).body == expected


def test_connection_can_end_after_a_complete_response(hub: LoopbackHub, link: str) -> None:
    hub.add_fault(Fault(FaultKind.CLOSE_AFTER))
    connection = open_connection(link, ca_file=hub.ca_file)
    reply = fetch_on(connection, link)
    assert (reply.body, reply.headers.get("Connection")) == (DATA, None)
    with pytest.raises(OSError):
        fetch_on(connection, link)
    connection.close()


def test_wrong_total_is_in_the_content_range_only(hub: LoopbackHub, get: Get) -> None:
    hub.add_fault(Fault(FaultKind.WRONG_TOTAL, count=1))
    reply = get(0, 10)
    assert reply.headers["Content-Range"] == f"bytes 0-9/{SIZE + 1}"
    assert reply.body == DATA[:10]


def test_chunked_body_has_no_length(hub: LoopbackHub, get: Get) -> None:
    hub.add_fault(Fault(FaultKind.CHUNKED))
    reply = get()
    assert reply.headers.get("Content-Length") is None
    assert reply.body == DATA


def test_changed_etag_is_in_both_headers(hub: LoopbackHub) -> None:
    url = f"{hub.url}/org/name/resolve/main/model.gguf"
    before = fetch(url, method="HEAD", ca_file=hub.ca_file).headers
    hub.add_fault(Fault(FaultKind.CHANGED_ETAG))
    after = fetch(url, method="HEAD", ca_file=hub.ca_file).headers
    assert before["X-Linked-ETag"] != after["X-Linked-ETag"] == after["ETag"]


def test_fault_is_chosen_by_role_method_and_address(hub: LoopbackHub, get: Get) -> None:
    hub.add_fault(Fault(FaultKind.UNAVAILABLE, role="hub", path="/api/*", times=None))
    hub.add_fault(Fault(FaultKind.STATUS, status=500, method="HEAD", path="*.json", times=None))
    config = f"{hub.url}/org/name/resolve/main/config.json"
    assert get().status == 200
    assert fetch(f"{hub.url}/api/models/org/name", ca_file=hub.ca_file).status == 503
    assert fetch(config, ca_file=hub.ca_file).status == 200
    assert fetch(config, method="HEAD", ca_file=hub.ca_file).status == 500


def test_dead_once_resets_one_connection(hub: LoopbackHub, get: Get) -> None:
    hub.add_fault(Fault(FaultKind.DEAD, role="cdn"))
    with pytest.raises(ConnectionError):
        get()
    assert get().body == DATA


def test_dead_always_refuses_until_cleared(hub: LoopbackHub, get: Get, link: str) -> None:
    connection = open_connection(link, ca_file=hub.ca_file)
    assert fetch_on(connection, link).status == 200
    hub.add_fault(Fault(FaultKind.DEAD, role="cdn", times=None))
    with pytest.raises(OSError):
        fetch_on(connection, link)
    connection.close()
    with pytest.raises(ConnectionRefusedError):
        get()
    assert fetch(f"{hub.url}/api/models/org/name", ca_file=hub.ca_file).status == 200
    hub.clear_faults()
    assert get().body == DATA


def test_refused_port_is_not_given_to_anybody_else(hub: LoopbackHub) -> None:
    hub.refuse("cdn")
    port = int(hub.cdn_url.rpartition(":")[2])
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))


def test_keep_alive_survives_error_responses(hub: LoopbackHub, link: str) -> None:
    hub.add_fault(Fault(FaultKind.UNAVAILABLE, times=2))
    connection = open_connection(link, ca_file=hub.ca_file)
    statuses = [fetch_on(connection, link).status for _ in range(3)]
    connection.close()
    assert statuses == [503, 503, 200]
    assert hub.connections("cdn")[2] == 1


@pytest.mark.parametrize(
    ("at", "of", "offset"),
    [
        (None, "file", 100),
        (0, "file", None),
        (150, "file", 150),
        (0.15, "file", 150),
        (1.0, "file", None),
        (0, "response", 100),
        (0.5, "response", 150),
        (1.0, "response", 199),
        (-1, "response", 199),
    ],
)
def test_position_is_of_the_file_or_of_the_response(
    at: int | float | None, of: str, offset: int | None
) -> None:
    fault = Fault(FaultKind.DROP, at=at, of=of)  # type: ignore[arg-type]
    subject = Subject("cdn", "GET", "/x", 206, "o/n", "m", size_bytes=1000, start=100, stop=200)
    assert strike_offset(fault, subject) == offset


def test_trickle_sends_the_rest_at_its_rate(hub: LoopbackHub, get: Get) -> None:
    hub.add_fault(Fault(FaultKind.TRICKLE, at=-500, count=1000))
    begun_s = time.monotonic()
    assert get().body == DATA
    assert 0.4 < time.monotonic() - begun_s < 2.0
    assert [r.faults for r in hub.requests] == [(FaultKind.TRICKLE,)]


def test_pause_delays_the_rest(hub: LoopbackHub, get: Get) -> None:
    hub.add_fault(Fault(FaultKind.PAUSE, at=0.5, delay_s=0.4))
    begun_s = time.monotonic()
    assert get().body == DATA
    assert 0.4 < time.monotonic() - begun_s < 2.0
