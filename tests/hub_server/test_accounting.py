"""What the hub remembers, and how it ends."""

import threading
import time
from pathlib import Path

import pytest

from tests.hub import Authority, Content, Fault, FaultKind, Generated, LoopbackHub, Repo
from tests.hub.fixtures import HubFactory
from tests.hub_server.client import cdn_link, fetch, fetch_range, open_connection

FILES: dict[str, Content] = {"model.gguf": Generated(2_000_000), "config.json": b"{}"}


@pytest.fixture
def hub(hub_factory: HubFactory) -> LoopbackHub:
    return hub_factory([Repo("org/name", FILES)], tokens={"hf_x": "ada"})


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_request_is_recorded_in_full(hub: LoopbackHub) -> None:
    headers = {"Authorization": "Bearer hf_x"}
    link = fetch(f"{hub.url}/org/name/resolve/main/model.gguf", headers).headers["Location"]
    fetch_range(link, 10, 20)
    first, second = hub.requests
    assert (first.role, first.method, first.status) == ("hub", "GET", 302)
    assert first.target == "/org/name/resolve/main/model.gguf"
    assert (first.has_authorization, second.has_authorization) == (True, False)
    assert (second.role, second.path, second.repo_id) == ("cdn", "model.gguf", "org/name")
    assert (second.range, second.status, second.bytes_sent) == ("bytes=10-19", 206, 10)
    assert first.peer_port != second.peer_port
    assert first.started_at < second.started_at


def test_bytes_are_counted_by_file_and_role(hub: LoopbackHub) -> None:
    link = cdn_link(f"{hub.url}/org/name/resolve/main/model.gguf")
    fetch(link)
    fetch_range(link, 0, 500)
    fetch(f"{hub.url}/org/name/resolve/main/config.json")
    assert hub.bytes_sent("model.gguf") == hub.bytes_sent(role="cdn") == 2_000_500
    assert hub.bytes_sent("config.json") == 2
    assert hub.bytes_sent() == 2_000_502


def test_aborted_body_counts_what_left(hub_factory: HubFactory) -> None:
    hub = hub_factory([Repo("org/name", FILES)], rate_bytes_per_s=1_000_000)
    link = cdn_link(f"{hub.url}/org/name/resolve/main/model.gguf")
    connection = open_connection(link)
    connection.request("GET", link[len(hub.cdn_url) :])
    response = connection.getresponse()
    response.read(100_000)
    response.close()
    connection.close()
    deadline = time.monotonic() + 5
    while hub.requests[-1].finished_at is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert 100_000 <= hub.bytes_sent("model.gguf") < 400_000


def test_peak_counts_connections_open_at_once(hub: LoopbackHub) -> None:
    connections = [open_connection(hub.url) for _ in range(5)]
    for connection in connections:
        connection.connect()
    deadline = time.monotonic() + 5
    while hub.connections_peak < 5 and time.monotonic() < deadline:
        time.sleep(0.005)
    for connection in connections:
        connection.close()
    assert hub.connections_peak == 5


def test_reset_forgets_requests_and_faults(hub: LoopbackHub) -> None:
    hub.add_fault(Fault(FaultKind.UNAVAILABLE, times=None))
    assert fetch(f"{hub.url}/api/models/org/name").status == 503
    hub.reset()
    assert (hub.requests, hub.bytes_sent()) == ([], 0)
    assert fetch(f"{hub.url}/api/models/org/name").status == 200


def test_two_hubs_serve_side_by_side(hub_factory: HubFactory, hub_authority: Authority) -> None:
    first = hub_factory([Repo("org/name", {"a.txt": b"1"})], tls=True)
    second = hub_factory([Repo("org/name", {"a.txt": b"2"})], tls=True)
    bodies = [
        fetch(f"{hub.url}/org/name/resolve/main/a.txt", ca_file=hub_authority.ca_file).body
        for hub in (first, second)
    ]
    assert bodies == [b"1", b"2"]
    assert (len(first.requests), len(second.requests)) == (1, 1)


@pytest.mark.parametrize("tls", [False, True])
def test_close_ends_every_thread_and_socket_quickly(hub_authority: Authority, tls: bool) -> None:
    Repo("org/name", FILES).hash_all()  # makes the pool, which stays
    threads, descriptors = threading.active_count(), open_descriptors()
    hub = LoopbackHub(
        [Repo("org/name", FILES)],
        tls=hub_authority if tls else False,
        rate_bytes_per_s=50_000,
    )
    hub.start()
    link = cdn_link(f"{hub.url}/org/name/resolve/main/model.gguf", ca_file=hub.ca_file)
    hub.add_fault(Fault(FaultKind.STALL, at=0, times=3))
    connections = [open_connection(link, ca_file=hub.ca_file) for _ in range(12)]
    for number, connection in enumerate(connections):
        connection.connect()
        if number % 2:  # idle, stalled and sending ones
            connection.request("GET", link[len(hub.cdn_url) :])
    deadline = time.monotonic() + 5
    while len(hub.requests) < 7 and time.monotonic() < deadline:
        time.sleep(0.005)
    started = time.monotonic()
    hub.close()
    assert time.monotonic() - started < 0.2
    for connection in connections:
        connection.close()
    assert threading.active_count() == threads
    assert open_descriptors() == descriptors
