"""``qtool download --backend``: signals, exit codes, and nothing that lives on."""

import importlib.util
import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.download import start_download
from tests.hub import Fault, FaultKind, Generated, Repo

MIB = 1024 * 1024
SIZE = 24 * MIB

each_backend = pytest.mark.parametrize(
    "backend",
    [
        pytest.param(
            "aria2c",
            marks=pytest.mark.skipif(
                shutil.which("aria2c") is None,
                reason="aria2c is not on PATH (apt-get install aria2)",
            ),
        ),
        pytest.param(
            "hf_transfer",
            marks=pytest.mark.skipif(
                importlib.util.find_spec("hf_transfer") is None,
                reason="hf_transfer has no wheel here",
            ),
        ),
    ],
)


@pytest.fixture
def repo():
    return Repo("org/name", {"model.gguf": Generated(SIZE), "config.json": b"{}"})


def wait_for(condition, timeout_s=30.0):
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def child_of(process):
    """Return the id of the program that a qtool started, None without one."""
    done = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True
    )
    return int(done.stdout.split()[0]) if done.stdout.split() else None


def is_alive(pid):
    """Return whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def begin(hub, folder, backend):
    """Start a download and return it with its child once bytes flow."""
    process = start_download(hub, folder, "--backend", backend, "-x", "8")
    wait_for(lambda: hub.bytes_sent("model.gguf", "cdn") > 4 * MIB)
    child = child_of(process)
    assert child is not None and is_alive(child)
    return process, child


@each_backend
def test_result_says_what_was_done(qtool, hub_factory, repo, backend):
    done = qtool(hub_factory([repo]), "--backend", backend, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert {file["path"]: file["status"] for file in result["files"]} == {
        "config.json": "downloaded",
        "model.gguf": "downloaded",
    }
    assert all(file["verified"] for file in result["files"])
    assert result["bytes_transferred"] == SIZE + 2


@each_backend
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_program_within_seconds(hub_factory, repo, tmp_path, backend, signum):
    hub = hub_factory([repo], rate_bytes_per_s=MIB)
    process, child = begin(hub, tmp_path, backend)
    process.send_signal(signum)
    signalled_s = time.monotonic()
    _, stderr = process.communicate(timeout=10)
    assert time.monotonic() - signalled_s < 3
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert not is_alive(child)
    assert not (tmp_path / "name/model.gguf").exists()


@each_backend
def test_killed_qtool_takes_its_program_along_and_the_next_one_finishes(
    qtool, hub_factory, repo, tmp_path, backend
):
    hub = hub_factory([repo], rate_bytes_per_s=2 * MIB)
    process, child = begin(hub, tmp_path, backend)
    process.kill()
    process.communicate()
    done = qtool(hub, "--backend", backend, "--json")
    assert done.returncode == 0, done.stderr
    assert not is_alive(child)
    statuses = {file["path"]: file["status"] for file in json.loads(done.stdout)["files"]}
    assert statuses["model.gguf"] == ("resumed" if backend == "aria2c" else "downloaded")
    assert not list((tmp_path / "name").rglob("staging/*"))


@each_backend
def test_wrong_byte_ends_with_6(qtool, hub_factory, repo, tmp_path, backend):
    hub = hub_factory([repo])
    hub.add_fault(Fault(FaultKind.FLIP, path="model.gguf", at=0.5, times=None, role="cdn"))
    done = qtool(hub, "--backend", backend)
    assert done.returncode == 6, done.stderr
    assert "the content is wrong" in done.stderr
    assert [path.name for path in (tmp_path / "name").glob("*.*")] == [".cache", "config.json"]


@pytest.mark.parametrize(
    ("arguments", "code", "hint"),
    [
        (["--backend", "wget"], 2, "--backend native|aria2c|hf_transfer"),
        (["--backend", "aria2c"], 7, "apt-get install aria2"),
        (["--backend", "hf_transfer", "--limit-rate", "1M"], 2, "--backend aria2c"),
    ],
)
def test_what_cannot_be_is_refused_with_a_command(
    qtool, hub_factory, repo, tmp_path, monkeypatch, arguments, code, hint
):
    monkeypatch.setenv("PATH", str(tmp_path))
    hub = hub_factory([repo])
    done = qtool(hub, *arguments)
    assert done.returncode == code, done.stderr
    assert hint in done.stderr
    assert hub.requests == []


@each_backend
def test_token_of_the_command_line_is_no_argument_of_the_program(
    hub_factory, repo, tmp_path, backend
):
    hub = hub_factory([repo], rate_bytes_per_s=MIB, tokens={"hf_secret": "ada"})
    process = start_download(hub, tmp_path, "--backend", backend, "--token", "hf_secret")
    try:
        wait_for(lambda: hub.bytes_sent("model.gguf", "cdn") > 4 * MIB)
        folder = Path(f"/proc/{child_of(process)}")
        assert b"hf_secret" not in (folder / "cmdline").read_bytes()
        assert b"hf_secret" not in (folder / "environ").read_bytes()
    finally:
        process.terminate()
        process.communicate()
