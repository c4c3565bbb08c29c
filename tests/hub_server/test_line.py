"""Rates, latency and connection caps."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.hub import Content, Generated, Line, Repo
from tests.hub.fixtures import HubFactory
from tests.hub.wire import IDLE_CREDIT_SECONDS, MAX_CREDIT_SECONDS, Pacer
from tests.hub_server.client import fetch_on, fetch_range, open_connection

pytestmark = pytest.mark.alone

RATE = 4 << 20
REPO: dict[str, Content] = {"model.txt": Generated(8 << 20)}
URL = "/org/name/resolve/main/model.txt"


@pytest.mark.parametrize("tls", [False, True])
def test_rate_holds_for_each_connection(hub_factory: HubFactory, tls: bool) -> None:
    hub = hub_factory([Repo("org/name", REPO)], rate_bytes_per_s=RATE, tls=tls)
    part = 1 << 20
    connections = [open_connection(hub.url, ca_file=hub.ca_file) for _ in range(4)]
    for connection in connections:
        connection.connect()

    def fetch_timed(number: int) -> float:
        started = time.monotonic()
        headers = {"Range": f"bytes={number * part}-{(number + 1) * part - 1}"}
        fetch_on(connections[number], hub.url + URL, headers)
        return time.monotonic() - started

    with ThreadPoolExecutor(4) as pool:
        seconds = list(pool.map(fetch_timed, range(4)))
    for connection in connections:
        connection.close()
    # Never early; how late depends on what else the machine does.
    assert 0.98 * part / RATE <= min(seconds) <= 1.5 * part / RATE


def test_rate_holds_across_requests_on_one_connection(hub_factory: HubFactory) -> None:
    hub = hub_factory([Repo("org/name", REPO)], rate_bytes_per_s=RATE)
    connection = open_connection(hub.url)
    started = time.monotonic()
    for number in range(8):
        fetch_on(connection, hub.url + URL, {"Range": f"bytes={number}-{number + 65535}"})
    seconds = time.monotonic() - started
    connection.close()
    assert 0.95 * 8 * 65536 / RATE <= seconds <= 2 * 8 * 65536 / RATE


class FakeTime:
    """A clock that moves by sleeping alone."""

    def __init__(self) -> None:
        self.now = 100.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def pacer(fake_time: FakeTime) -> Pacer:
    """A pacer of one byte per microsecond, between two responses."""
    pacer = Pacer(1e6, threading.Event(), fake_time.clock, fake_time.sleep)
    pacer.begin()
    pacer.pay(10_000)
    return pacer


def test_pacer_never_lets_a_piece_out_early(pacer: Pacer, fake_time: FakeTime) -> None:
    started = fake_time.now
    for number in range(1, 101):
        pacer.pay(10_000)
        assert fake_time.now == pytest.approx(started + number * 0.01)


def test_pacer_catches_up_after_a_late_wakeup(pacer: Pacer, fake_time: FakeTime) -> None:
    started = fake_time.now
    fake_time.sleep(0.03)
    for _ in range(5):
        pacer.pay(10_000)
    assert fake_time.now == pytest.approx(started + 0.05)


def test_pacer_forgives_no_more_than_its_limit(pacer: Pacer, fake_time: FakeTime) -> None:
    fake_time.sleep(10)
    started = fake_time.now
    for _ in range(15):
        pacer.pay(10_000)
    assert fake_time.now == pytest.approx(started + 0.15 - MAX_CREDIT_SECONDS, abs=0.011)


def test_pacer_gives_no_credit_for_idling(pacer: Pacer, fake_time: FakeTime) -> None:
    fake_time.sleep(0.08)
    started = fake_time.now
    pacer.begin()
    pacer.pay(20_000)
    assert fake_time.now == pytest.approx(started + 0.02 - IDLE_CREDIT_SECONDS)


def test_latency_is_added_to_each_request(hub_factory: HubFactory) -> None:
    hub = hub_factory([Repo("org/name", REPO)], latency_s=0.04)
    connection = open_connection(hub.url)
    started = time.monotonic()
    for _ in range(3):
        fetch_on(connection, hub.url + URL, {"Range": "bytes=0-9"})
    assert 0.12 <= time.monotonic() - started < 0.4
    connection.close()


@pytest.mark.parametrize("status", [503, 429])
def test_connections_beyond_the_cap_are_turned_away(hub_factory: HubFactory, status: int) -> None:
    hub = hub_factory([Repo("org/name", REPO)], max_connections=2, over_limit_status=status)
    held = [open_connection(hub.url) for _ in range(2)]
    assert [fetch_on(c, hub.url + URL, {"Range": "bytes=0-9"}).status for c in held] == [206] * 2
    refused = fetch_range(hub.url + URL, 0, 10)
    assert (refused.status, refused.headers["Connection"]) == (status, "close")
    for connection in held:
        connection.close()
    deadline = time.monotonic() + 5
    while hub.connections("hub")[0] and time.monotonic() < deadline:
        time.sleep(0.005)
    assert fetch_range(hub.url + URL, 0, 10).status == 206


def test_line_of_one_role_can_be_changed(hub_factory: HubFactory) -> None:
    hub = hub_factory([Repo("org/name", REPO)])
    hub.set_line("hub", Line(max_connections=0, over_limit_status=429))
    assert fetch_range(hub.url + URL, 0, 10).status == 429
    hub.set_line("hub", Line())
    assert fetch_range(hub.url + URL, 0, 10).status == 206
