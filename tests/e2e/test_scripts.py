"""What README.md tells a newcomer to run, in a fresh clone."""

import os
import subprocess
import time
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

NOWHERE = "http://127.0.0.1:9"


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_quickstart_answers_and_a_second_run_needs_no_network(tmp_path: Path):
    clone = tmp_path / "qtool"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)

    def quickstart(**environ: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["./scripts/quickstart.sh"],
            cwd=clone,
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    first = quickstart()
    assert first.returncode == 0, first.stdout + first.stderr
    assert "The capital of France is Paris." in first.stdout
    started_at = time.monotonic()
    offline = {"PIP_NO_INDEX": "1", "HF_ENDPOINT": NOWHERE, "HTTPS_PROXY": NOWHERE}
    second = quickstart(**offline)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "The capital of France is Paris." in second.stdout
    assert time.monotonic() - started_at < 30
    assert "installing" not in second.stdout


def test_quickstart_explains_itself_without_making_anything():
    script = ROOT / "scripts/quickstart.sh"
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("From a fresh clone to a conversation")
    assert "set -eu" not in done.stdout and "==>" not in done.stdout
    assert subprocess.run([script, "x"], capture_output=True, check=False).returncode == 2


@pytest.mark.network
def test_built_wheel_holds_what_the_program_reads(tmp_path: Path):
    subprocess.run(
        ["python", "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path), str(ROOT)],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    (wheel,) = tmp_path.glob("qtool-*.whl")
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "qtool").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"qtool/py.typed", "qtool/models/starters.toml"} <= sources
    assert sources <= names
    assert not any(name.startswith("tests/") for name in names)
