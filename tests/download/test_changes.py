"""A hub that changes between a run that was killed and the next."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qtool.download import Planned
from tests.hub import Fault, FaultKind, Generated, Line, Repo, read_content

MIB = 1024 * 1024
SIZE = 6 * MIB
ROOT = str(Path(__file__).parents[2])


@pytest.fixture
def repo():
    return Repo("org/name", {"m.gguf": Generated(SIZE), "small.txt": b"old"})


@pytest.fixture
def hub(hub_factory, repo):
    return hub_factory([repo], rate_bytes_per_s=3 * MIB)


@pytest.fixture
def run(fetch, hub):
    """Return a function that runs the program; given ``kill_at``, until so many bytes are sent."""

    def run(*, kill_at=None):
        command = [sys.executable, "-m", "qtool", "download", "org/name", "-x", "2", "--json"]
        command += ["--local-dir", str(fetch.target), "--endpoint", hub.url]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        env = {**os.environ, "PYTHONPATH": ROOT}
        with subprocess.Popen(command, env=env, **pipes) as process:
            deadline_s = time.monotonic() + 30
            while kill_at is not None and hub.bytes_sent("m.gguf", "cdn") < kill_at:
                assert time.monotonic() < deadline_s
                time.sleep(0.01)
            if kill_at is not None:
                process.kill()
            out, said = process.communicate(timeout=60)
        return json.loads(out) if out else said

    return run


@pytest.fixture
def killed(run, hub, fetch):
    """Leave a run killed in the middle of the large file; return the bytes it was sent."""
    run(kill_at=SIZE // 2)
    assert fetch.partial_files() != []
    assert "m.gguf" not in fetch.files()
    hub.set_line("cdn", Line())
    return hub.bytes_sent("m.gguf", "cdn")


def statuses(result):
    return {file["path"]: file["status"] for file in result["files"]}


@pytest.mark.parametrize("size", [SIZE, SIZE - MIB, 1000], ids=str)
def test_changed_file_starts_anew(killed, run, hub, fetch, is_right, repo, size):
    hub.commit("org/name", {"m.gguf": Generated(size, seed=1)})
    assert statuses(run())["m.gguf"] == "downloaded"
    assert is_right(fetch, repo)


def test_changed_file_is_said(killed, hub, fetch):
    hub.commit("org/name", {"m.gguf": Generated(SIZE, seed=1)})
    events = []
    fetch(hub, on_event=events.append)
    (planned,) = (event for event in events if isinstance(event, Planned))
    assert planned.notes == ("m.gguf has changed on the hub since it was begun: it starts anew",)


def test_same_file_in_a_new_commit_goes_on(killed, run, hub, fetch, is_right, repo):
    hub.commit("org/name", {"small.txt": b"new"})
    assert statuses(run()) == {"m.gguf": "resumed", "small.txt": "downloaded"}
    assert is_right(fetch, repo)
    assert hub.bytes_sent("m.gguf", "cdn") <= 1.1 * SIZE


def test_changed_etag_of_the_same_file_goes_on(killed, run, hub, fetch, is_right, repo):
    hub.add_fault(Fault(FaultKind.CHANGED_ETAG, path="m.gguf", times=None))
    assert statuses(run())["m.gguf"] == "resumed"
    assert is_right(fetch, repo)
    assert hub.bytes_sent("m.gguf", "cdn") <= 1.1 * SIZE


def test_file_that_came_by_other_means_leaves_no_orphan(killed, run, fetch, is_right, repo):
    (fetch.target / "m.gguf").write_bytes(read_content(Generated(SIZE)))
    assert statuses(run()) == {"m.gguf": "verified", "small.txt": "skipped"}
    assert is_right(fetch, repo)


def test_removed_file_leaves_no_orphan(killed, run, hub, fetch, is_right, repo):
    hub.commit("org/name", {"small.txt": b"new"}, replace=True)
    assert statuses(run()) == {"small.txt": "downloaded"}
    assert is_right(fetch, repo)
