"""``qtool chat --keep-alive`` with the real starter model."""

import json
from pathlib import Path

import pytest

from tests.conftest import Run

pytestmark = pytest.mark.model


def test_engine_stays_for_the_next_chat_and_serve_lists_and_ends_it(
    run_qtool: Run, starter_gguf: Path
):
    talk = ("chat", str(starter_gguf), "--ctx", "512", "-p", "Hi", "-m", "2", "--json")
    assert run_qtool(*talk, "--keep-alive", "2m").returncode == 0
    [engine] = json.loads(run_qtool("serve", "--list", "--json").stdout)["engines"]
    assert (engine["keep_alive_s"], engine["is_used"]) == (120, False)
    second = json.loads(run_qtool(*talk).stdout)
    assert second["usage"]["cached_tokens"] == second["usage"]["prompt_tokens"] - 1
    listed = run_qtool("serve", "--list").stdout
    assert f"process {engine['pid']}" in listed
    done = run_qtool("serve", "--stop", str(starter_gguf), "--json")
    assert json.loads(done.stdout)["stopped"] == [starter_gguf.name]
    assert not Path(f"/proc/{engine['pid']}").exists()
    assert run_qtool("serve", "--stop", str(starter_gguf)).returncode == 3


def test_server_elsewhere_is_not_ours_to_keep(run_qtool: Run):
    done = run_qtool("chat", "--endpoint", "127.0.0.1:1", "--keep-alive", "5m", "-p", "x")
    assert done.returncode == 2
    assert "--keep-alive has no effect with --endpoint" in done.stderr


def test_time_that_is_none_is_refused(run_qtool: Run, starter_gguf: Path):
    done = run_qtool("chat", str(starter_gguf), "--keep-alive", "soon")
    assert done.returncode == 2
    assert "10m" in done.stderr
