from contextlib import ExitStack

import pytest

from qtool.download.mirrors import Fleet, Mirror, least_loaded
from qtool.hub.client import HubClient
from qtool.hub.connection import ConnectionPool
from qtool.hub.endpoints import Endpoint
from tests.unit.download.test_pacing import Clock


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def dropped():
    return []


@pytest.fixture
def mirror(clock, dropped):
    def make(name="a", most=16):
        client = HubClient(ConnectionPool(), Endpoint(f"https://{name}"))
        return Mirror(client, most, lambda url, reason: dropped.append((url, reason)), clock)

    return make


def deliver(clock, mirror, n_connections, bytes_per_s):
    mirror.sample()
    for _ in range(n_connections):
        mirror.enter()
    clock.advance(1.0)
    mirror.note_bytes(n_connections * bytes_per_s)
    mirror.sample()


def test_speed_is_that_of_one_connection(clock, mirror):
    one = mirror()
    deliver(clock, one, 4, 1000)
    assert one.bytes_per_s == pytest.approx(1000)


def test_connections_spread_by_what_each_brings(clock, mirror):
    fast, slow = mirror("fast"), mirror("slow")
    deliver(clock, fast, 1, 3000)
    deliver(clock, slow, 1, 1000)
    for _ in range(14):
        least_loaded([fast, slow]).enter()
    assert (fast.n_active, slow.n_active) == (12, 4)


def test_connections_spread_evenly_while_nothing_is_known(mirror):
    mirrors = [mirror(name) for name in "abc"]
    for _ in range(12):
        least_loaded(mirrors).enter()
    assert [one.n_active for one in mirrors] == [4, 4, 4]


def test_silent_endpoint_is_tried_now_and_then(clock, mirror):
    fast, silent = mirror("fast"), mirror("silent")
    deliver(clock, fast, 1, 1000)
    deliver(clock, silent, 1, 0)
    silent.leave()
    for _ in range(100):
        least_loaded([fast, silent]).enter()
    assert silent.n_active == 1


def test_protest_lowers_to_what_is_served(clock, mirror):
    one = mirror(most=32)
    with ExitStack() as stack:
        for _ in range(6):
            stack.enter_context(one.serving())
        one.push_back()
    assert one.limit.allowed() == 6


def test_protest_of_one_leaves_the_others_alone(clock, mirror):
    first, second = mirror("a", most=8), mirror("b", most=8)
    fleet = Fleet([first, second], wanted=16, most=16)
    first.push_back()
    assert fleet.allowed() == 12


def test_dropped_endpoint_is_reported_once_and_counts_no_more(mirror, dropped):
    first, second = mirror("a"), mirror("b")
    fleet = Fleet([first, second], wanted=99, most=99)
    first.note_bytes(7)
    first.drop("because")
    first.drop("again")
    assert dropped == [("https://a", "because")]
    assert fleet.live == [second]
    assert fleet.allowed() == 16
    assert fleet.bytes_received() == 7
