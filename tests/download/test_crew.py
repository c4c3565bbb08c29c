"""A download where the system is short of threads or memory."""

import threading
from types import SimpleNamespace

import pytest

from qtool.errors import ResourceError
from tests.hub import Generated, Repo

MIB = 1024 * 1024


@pytest.fixture
def repo():
    small = {f"{number}.txt": bytes([number]) * 100 for number in range(40)}
    return Repo("org/name", {**small, "m.bin": Generated(8 * MIB)})


@pytest.fixture
def grant(monkeypatch):
    """Return a function that limits the threads of downloads to come, not those of the hub."""

    def limit(count):
        class Meagre(threading.Thread):
            def start(self):
                nonlocal count
                if not count:
                    raise RuntimeError("can't start new thread")
                count -= 1
                super().start()

        scarce = SimpleNamespace(Thread=Meagre)
        monkeypatch.setattr("qtool.download.crew.threading", scarce)

    return limit


@pytest.mark.parametrize("count", [3, 10, 25])
def test_few_threads_are_enough(hub_factory, fetch, repo, is_right, grant, count):
    grant(count)
    assert fetch(hub_factory([repo])).failures == ()
    assert is_right(fetch, repo)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_threads_are_said_so(hub_factory, fetch, repo, is_right, grant, count):
    hub = hub_factory([repo])
    grant(count)
    with pytest.raises(ResourceError, match="threads"):
        fetch(hub)
    grant(100)
    fetch(hub)
    assert is_right(fetch, repo)


@pytest.mark.parametrize("place", ["crew.Worker", "transfer.Worker._fetch"])
def test_short_memory_is_said_so_and_the_next_run_goes_on(
    hub_factory, fetch, repo, is_right, monkeypatch, place
):
    def run_short(*arguments, **options):
        raise MemoryError

    hub = hub_factory([repo])
    with monkeypatch.context() as patch, pytest.raises(ResourceError, match="memory"):
        patch.setattr(f"qtool.download.{place}", run_short)
        fetch(hub)
    fetch(hub)
    assert is_right(fetch, repo)
