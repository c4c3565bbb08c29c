import json
import socket
import time

import pytest

from qtool.errors import AuthError, NetworkError, NotFoundError
from qtool.hub.choice import choose, list_on_first
from qtool.hub.client import HubClient
from qtool.hub.connection import ConnectionPool
from qtool.hub.endpoints import Endpoint, EndpointOrigin, HubApi
from qtool.hub.ranking import Ranking
from qtool.hub.repo import RepoRef
from tests.hub import Fault, FaultKind, HubStyle, Repo
from tests.hub.server import Line

REPO = RepoRef("org/name")
STALLED = Fault(FaultKind.DELAY, path="/api/*", times=None, delay_s=30)


@pytest.fixture
def repo():
    return Repo("org/name", {"a": b"1"})


@pytest.fixture
def pool():
    pool = ConnectionPool(connect_timeout_s=2, stall_timeout_s=2)
    yield pool
    pool.abort()


@pytest.fixture
def clients(pool):
    """Return clients for hubs or URLs, as for a choice that nobody made."""

    def make(*hubs, token=None):
        urls = [hub if isinstance(hub, str) else hub.url for hub in hubs]
        return [
            HubClient(pool, Endpoint(url, EndpointOrigin.AUTOMATIC), token, attempts=1)
            for url in urls
        ]

    return make


def unused_url():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{sock.getsockname()[1]}"


def test_first_one_wins_when_it_is_as_fast_as_the_others(hub_factory, clients, repo):
    hubs = [hub_factory([repo]) for _ in range(3)]
    choice = choose(clients(*hubs), REPO)
    assert choice.client.endpoint.url == hubs[0].url
    assert choice.listing.commit == repo.sha
    assert {one.endpoint.url for one in choice.others} == {hubs[1].url, hubs[2].url}


def test_faster_one_wins_over_one_that_is_slow_to_answer(hub_factory, clients, repo):
    slow, fast = hub_factory([repo], latency_s=1.0), hub_factory([repo])
    begun_s = time.monotonic()
    assert choose(clients(slow, fast), REPO).client.endpoint.url == fast.url
    assert time.monotonic() - begun_s < 0.8


def test_dead_ones_cost_nothing(hub_factory, clients, repo):
    hub = hub_factory([repo])
    begun_s = time.monotonic()
    assert choose(clients(unused_url(), hub, unused_url()), REPO).client.endpoint.url == hub.url
    assert time.monotonic() - begun_s < 0.6


def test_three_seconds_are_enough_to_say_that_nobody_answers(hub_factory, clients, repo):
    stalled = hub_factory([repo])
    stalled.add_fault(STALLED)
    dead = unused_url()
    begun_s = time.monotonic()
    with pytest.raises(NetworkError) as caught:
        choose(clients(stalled, dead), REPO)
    assert time.monotonic() - begun_s < 3.5
    assert f"{stalled.url}: no answer within 3 s" in caught.value.message
    assert f"{dead}: does not answer" in caught.value.message
    assert "HF_ENDPOINT=https://hf-mirror.com" in (caught.value.hint or "")


def test_repository_that_only_the_last_one_has_is_found(hub_factory, clients, repo):
    empty, full = hub_factory([]), hub_factory([repo], latency_s=0.2)
    assert choose(clients(empty, full), REPO).client.endpoint.url == full.url


def test_repository_that_nobody_has_is_not_found(hub_factory, clients):
    with pytest.raises(NotFoundError):
        choose(clients(hub_factory([]), hub_factory([])), REPO)


def test_private_repository_wants_a_token_though_mirrors_are_dead(hub_factory, clients):
    hub = hub_factory([], tokens={"hf_test": "tester"})
    hub.add_fault(Fault(FaultKind.STATUS, path="/api/*", status=403, times=None))
    with pytest.raises(AuthError):
        choose(clients(hub, unused_url()), REPO)


def test_automatic_choice_gets_no_token(hub_factory, clients, repo):
    hubs = [hub_factory([repo]), hub_factory([repo], style=HubStyle.MODELSCOPE)]
    choose(clients(*hubs, token="hf_secret"), REPO)
    assert all(not r.has_authorization for hub in hubs for r in hub.requests)


def test_order_is_remembered_and_others_are_spared(hub_factory, clients, repo, tmp_path):
    ranking = Ranking(tmp_path / "state" / "mirrors.json")
    slow, fast = hub_factory([repo], latency_s=0.6), hub_factory([repo])
    choose(clients(slow, fast), REPO, ranking)
    for hub in (slow, fast):
        hub.reset()
    choose(clients(slow, fast), REPO, ranking)
    assert (len(slow.requests), len(fast.requests)) == (0, 1)


def test_remembered_one_that_died_gives_way_and_is_forgotten(hub_factory, clients, repo, tmp_path):
    ranking = Ranking(tmp_path / "mirrors.json")
    first, second = hub_factory([repo]), hub_factory([repo])
    ranking.remember({first.url: 0.1})
    first.refuse("hub")
    assert choose(clients(first, second), REPO, ranking).client.endpoint.url == second.url
    assert ranking.ranked([first.url, second.url]) == [second.url]


def test_remembered_one_that_is_silent_has_a_short_head_start_only(
    hub_factory, clients, repo, tmp_path
):
    ranking = Ranking(tmp_path / "mirrors.json")
    first, second = hub_factory([repo]), hub_factory([repo])
    ranking.remember({first.url: 0.1})
    first.add_fault(STALLED)
    begun_s = time.monotonic()
    assert choose(clients(first, second), REPO, ranking).client.endpoint.url == second.url
    assert time.monotonic() - begun_s < 1.5


def test_long_listing_is_waited_for(hub_factory, clients, monkeypatch):
    monkeypatch.setattr("qtool.hub.choice.DEADLINE_S", 0.5)
    files = {f"f{number:05}": b"%d" % number for number in range(1200)}
    hub = hub_factory([Repo("org/name", files)], page_size=200)
    hub.set_line("hub", Line(None, 0.15))
    assert len(choose(clients(hub, unused_url()), REPO).listing.files) == 1200


def test_nothing_but_addresses_and_times_is_remembered(hub_factory, clients, repo, tmp_path):
    path = tmp_path / "mirrors.json"
    hub = hub_factory([repo])
    choose(clients(hub, token="hf_secret"), REPO, Ranking(path))
    assert "hf_secret" not in path.read_text()
    assert set(json.loads(path.read_text())) == {"version", "saved_at", "seconds"}


def test_modelscope_is_recognised_by_its_host_or_its_answers(hub_factory, clients, repo):
    hub = hub_factory([repo], style=HubStyle.MODELSCOPE)
    choice = choose(clients(hub, unused_url()), REPO)
    assert choice.client.endpoint.api is HubApi.MODELSCOPE
    assert [file.path for file in choice.listing.files] == ["a"]


# Endpoints that somebody named.


def test_endpoint_without_the_repository_makes_room_for_the_next(hub_factory, clients, repo):
    empty, full = hub_factory([]), hub_factory([repo])
    assert list_on_first(clients(empty, full), REPO).client.endpoint.url == full.url


def test_what_an_endpoint_says_outweighs_that_another_is_silent(hub_factory, clients):
    for hubs in ([hub_factory([]), unused_url()], [unused_url(), hub_factory([])]):
        with pytest.raises(NotFoundError, match="has no model org/name"):
            list_on_first(clients(*hubs), REPO)


def test_named_endpoints_that_are_silent_are_all_named(clients):
    urls = [unused_url(), unused_url()]
    with pytest.raises(NetworkError) as caught:
        list_on_first(clients(*urls), REPO)
    assert all(f"{url}: does not answer" in caught.value.message for url in urls)
