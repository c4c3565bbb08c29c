"""``qtool serve --stop`` on engines that are sleeping processes."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qtool.engines.kept.process_mark import mark_process
from qtool.engines.kept.record import Record, RecordFolder
from tests.conftest import Run


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def keep(home: Path, model: Path, pid: int) -> None:
    """Write down that the process ``pid`` is an engine that was kept for ``model``."""
    folder = RecordFolder(home / "state" / "engines")
    folder.create()
    mark = mark_process(pid) or ""
    folder.write(
        Record(
            pid=pid,
            mark=mark,
            engine_pid=pid,
            url="http://127.0.0.1:1",
            api_key="k",
            alias=model.name,
            kind="llama.cpp",
            model=str(model),
            fingerprint="f",
            keep_alive_s=60,
            began_at=time.time(),
        )
    )


@pytest.mark.parametrize("typed", ["s.gguf", "../s.gguf", "./link.gguf", "..", "org/name"])
def test_engine_is_found_by_the_name_that_started_it(
    run_qtool: Run,
    own_settings: Path,
    tmp_path: Path,
    sleeper: subprocess.Popen[bytes],
    typed: str,
):
    here = tmp_path / "models" / "here"
    here.mkdir(parents=True)
    model = here.parent / "s.gguf"
    if typed == "org/name":
        repo = own_settings / "hf" / "hub" / "models--org--name"
        model = repo / "snapshots" / ("a" * 40) / "s.gguf"
        model.parent.mkdir(parents=True)
        (repo / "refs").mkdir()
        (repo / "refs" / "main").write_text("a" * 40)
    model.write_bytes(b"GGUF")
    (here / "link.gguf").symlink_to(model)
    (here / "other.gguf").write_bytes(b"GGUF")
    keep(own_settings, model, sleeper.pid)
    assert run_qtool("serve", "--stop", "./other.gguf", cwd=here).returncode == 3
    done = run_qtool("serve", "--stop", typed, "--json", cwd=here)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["stopped"] == ["s.gguf"]
    assert sleeper.wait(5) != 0
