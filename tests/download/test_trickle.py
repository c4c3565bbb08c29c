"""A body that trickles, never quite silent: the connection is replaced, and no other."""

import pytest

from tests.hub import Fault, FaultKind, Generated, Repo

pytestmark = pytest.mark.alone

MIB = 1024 * 1024
SIZE = 5 * MIB + 7
TOO_LONG_S = 5.0
"""The trickles below would take minutes."""


@pytest.fixture(autouse=True)
def short_windows(monkeypatch):
    monkeypatch.setattr("qtool.download.peers.WINDOW_S", 0.6)


@pytest.fixture
def repo():
    return Repo("org/name", {"m.gguf": Generated(SIZE), "small.txt": Generated(100_000)})


@pytest.mark.parametrize("connections", [1, 8])
@pytest.mark.parametrize("at", [0, 0.5, -100_000])
def test_trickling_connection_is_replaced(hub_factory, fetch, is_right, repo, at, connections):
    hub = hub_factory([repo])
    hub.add_fault(Fault(FaultKind.TRICKLE, path="m.gguf", at=at, count=100, role="cdn"))
    result = fetch(hub, connections=connections)
    assert is_right(fetch, repo)
    assert result.failures == ()
    assert result.seconds < TOO_LONG_S
    assert result.bytes_transferred <= 1.05 * result.size_bytes


def test_trickling_small_file_is_asked_for_again(hub_factory, fetch, is_right, repo):
    hub = hub_factory([repo])
    hub.add_fault(Fault(FaultKind.TRICKLE, path="small.txt", at=0.1, count=100))
    assert fetch(hub).seconds < TOO_LONG_S
    assert is_right(fetch, repo)


def test_line_that_is_slow_as_a_whole_keeps_its_connections(hub_factory, fetch, is_right):
    repo = Repo("org/name", {"m.gguf": Generated(MIB)})
    hub = hub_factory([repo], rate_bytes_per_s=80_000)
    fetch(hub, connections=4)
    assert is_right(fetch, repo)
    assert hub.connections("cdn")[2] == 4
