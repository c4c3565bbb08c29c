"""The whole road with the real starter model: from a hub's repository to a conversation."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qtool.models.starters import load_starters
from tests.conftest import Run
from tests.hub import Fault, FaultKind, LoopbackHub
from tests.hub.fixtures import HubFactory
from tests.hub.server import Line
from tests.hub.starter import starter_repo

pytestmark = pytest.mark.model
STARTER = load_starters()[0]


@pytest.fixture
def hub(
    hub_factory: HubFactory, starter_gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> LoopbackHub:
    """Return a hub with the starter's repository, in front of all others."""
    hub = hub_factory([starter_repo(starter_gguf, STARTER.hub_repo, STARTER.hub_revision)])
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    return hub


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_download_then_doctor_then_chat(run_qtool: Run, hub: LoopbackHub, tmp_path: Path):
    done = run_qtool("download", STARTER.hub_repo, "-x", "8", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    path = tmp_path / "SmolLM2-135M-Instruct-GGUF" / STARTER.filename
    assert sha256_of(path) == STARTER.sha256
    assert str(path.parent).endswith(json.loads(done.stdout)["path"])
    done = run_qtool("doctor", f"./{path.parent.name}", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    verdict = json.loads(done.stdout)["verdict"]["gguf"]
    assert (verdict["runs"], verdict["engine"]) == (True, "llama.cpp")
    chat = ("chat", STARTER.hub_repo, "-p", "The capital of France is", "--temperature", "0")
    done = run_qtool(*chat, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout


def test_killed_half_way_and_run_again_costs_at_most_a_tenth_more(
    run_qtool: Run, hub: LoopbackHub, tmp_path: Path
):
    hub.set_line("cdn", Line(rate_bytes_per_s=8e6))
    command = [sys.executable, "-m", "qtool", "download", STARTER.hub_repo, "-x", "8"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 30
        while hub.bytes_sent(STARTER.filename, "cdn") < STARTER.size_bytes / 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    path = tmp_path / "SmolLM2-135M-Instruct-GGUF" / STARTER.filename
    assert not path.exists()
    hub.set_line("cdn", Line())
    assert run_qtool("download", STARTER.hub_repo, "-x", "8", cwd=tmp_path).returncode == 0
    assert sha256_of(path) == STARTER.sha256
    assert hub.bytes_sent(STARTER.filename, "cdn") <= 1.1 * STARTER.size_bytes


def test_flipped_byte_ends_with_6_and_nothing_under_the_final_name(
    run_qtool: Run, hub: LoopbackHub, tmp_path: Path
):
    hub.add_fault(Fault(FaultKind.FLIP, path=STARTER.filename, at=0.5))
    done = run_qtool("download", STARTER.hub_repo, "-x", "8", cwd=tmp_path)
    assert done.returncode == 6
    assert STARTER.filename in done.stderr
    path = tmp_path / "SmolLM2-135M-Instruct-GGUF" / STARTER.filename
    assert not path.exists()
    assert run_qtool("download", STARTER.hub_repo, cwd=tmp_path).returncode == 0
    assert sha256_of(path) == STARTER.sha256


def test_starter_comes_from_a_hub_that_answers(run_qtool: Run, hub: LoopbackHub):
    done = run_qtool("chat", "-y", "-p", "What is the capital of France?")
    assert done.returncode == 0, done.stderr
    assert f"from {hub.url}" in done.stderr
    assert "Paris" in done.stdout
    again = run_qtool("download", "starter", "--json")
    assert json.loads(again.stdout)["files"][0]["status"] == "skipped"
