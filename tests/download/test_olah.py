"""Through olah, a real mirror: what it changes on the way must not change what arrives."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qtool.download import FileStatus
from qtool.errors import NotFoundError
from qtool.hub.endpoints import Endpoint, EndpointOrigin
from tests.conftest import TEST_CACHE
from tests.download.olah import Olah, install_olah
from tests.hub import Fault, FaultKind, Generated, Repo

pytestmark = [pytest.mark.network, pytest.mark.slow]
MIB = 1024 * 1024
SIZE = 24 * MIB
ROOT = str(Path(__file__).parents[2])


@pytest.fixture
def repo():
    files = {"m.gguf": Generated(SIZE), "config.json": b"{}", "empty": b"", "tiny.bin": b"few"}
    return Repo("org/name", files | {"a b/中文.txt": b"odd", "medium.txt": Generated(900_000)})


@pytest.fixture
def mirror(hub_factory, tmp_path):
    """Return a function that starts olah in front of a hub, for as long as the test runs."""
    program = install_olah(TEST_CACHE)
    started = []

    def start(hub):
        olah = Olah(program, hub.url, hub.cdn_url, tmp_path / f"olah-{len(started)}")
        started.append(olah)
        return olah.__enter__()

    yield start
    for olah in started:
        olah.__exit__(None, None, None)


def through(olah):
    """Return options for ``fetch``; olah needs a tenth of a CPU second for every request."""
    return {"endpoints": (Endpoint(olah.url, EndpointOrigin.FLAG),), "connections": 4}


def test_repository_arrives_whole_and_right(hub_factory, mirror, fetch, is_right, repo):
    hub = hub_factory([repo])
    result = fetch(**through(mirror(hub)))
    assert result.failures == ()
    assert is_right(fetch, repo)
    assert result.commit == repo.sha
    assert all(file.is_verified for file in result.files)
    hub.refuse("cdn")
    assert {file.status for file in fetch(**through(mirror(hub))).files} == {FileStatus.SKIPPED}


def test_killed_download_goes_on_where_it_was(hub_factory, mirror, fetch, is_right, repo):
    olah = mirror(hub_factory([repo], rate_bytes_per_s=4 * MIB))
    command = [sys.executable, "-m", "qtool", "download", "org/name", "--json", "-x", "4"]
    command += ["--local-dir", str(fetch.target), "--endpoint", olah.url]
    options = {"env": {**os.environ, "PYTHONPATH": ROOT}, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **options) as victim:
        deadline_s = time.monotonic() + 60
        while bytes_on_disk(fetch.target) < SIZE // 3:
            assert victim.poll() is None and time.monotonic() < deadline_s
            time.sleep(0.01)
        victim.kill()
    there = bytes_on_disk(fetch.target)
    assert "m.gguf" not in fetch.files()
    again = subprocess.run(command, **options, check=True, timeout=100)
    result = json.loads(again.stdout)
    assert {file["path"]: file["status"] for file in result["files"]}["m.gguf"] == "resumed"
    assert result["bytes_transferred"] <= 1.05 * (SIZE - there) + 1.1 * MIB
    assert is_right(fetch, repo)


def bytes_on_disk(target):
    return sum(path.stat().st_blocks * 512 for path in target.glob(".cache/qtool/partial/*.part"))


def test_wrong_byte_behind_olah_is_found_by_us(hub_factory, mirror, fetch, repo):
    hub = hub_factory([repo])
    hub.add_fault(Fault(FaultKind.FLIP, path="m.gguf", at=0.5, times=None, role="cdn"))
    (failure,) = fetch(**through(mirror(hub))).failures
    assert (failure.path, failure.error.code) == ("m.gguf", "integrity")
    assert "m.gguf" not in fetch.files()


def test_name_that_olah_cannot_ask_for_is_said(hub_factory, mirror, fetch):
    """olah 0.5.4 asks its own hub for ``a#1.txt`` unescaped, that is for ``a``."""
    hub = hub_factory([Repo("org/name", {"a#1.txt": b"1", "good.txt": b"2"})])
    (failure,) = fetch(**through(mirror(hub))).failures
    assert isinstance(failure.error, NotFoundError)
    assert "has no file 'a#1.txt'" in failure.error.message
    assert fetch.files() == {"good.txt": b"2"}
    assert fetch(hub).failures == ()
