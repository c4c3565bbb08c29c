"""``hfd.sh`` as a process, in an empty folder, against the loopback hub."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.hub import LoopbackHub, Repo

SCRIPT = Path(__file__).parents[2] / "hfd.sh"
TOOLS = [
    pytest.param(
        tool,
        marks=pytest.mark.skipif(
            shutil.which(tool) is None and tool != "curl", reason=f"there is no {tool} here"
        ),
    )
    for tool in ("curl", "aria2c", "wget")
]


@pytest.fixture(params=TOOLS)
def tool(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True)
def own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Work in an empty folder, with temporary files in another one."""
    folder, temporary = tmp_path / "work folder", tmp_path / "tmp"
    folder.mkdir()
    temporary.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setenv("HFD_NO_QTOOL", "1")
    return folder


Hfd = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def hfd(monkeypatch: pytest.MonkeyPatch) -> Hfd:
    """Run the script to its end: ``hfd(hub, "org/name", "--tool", "curl")``."""

    def run(hub: LoopbackHub, *arguments: str, **environ: str):
        return subprocess.run(
            [SCRIPT, *arguments],
            env={**os.environ, "HF_ENDPOINT": hub.url, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    return run


@pytest.fixture
def start_hfd() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start the script in a process group of its own, which ends with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(hub: LoopbackHub, *arguments: str, **environ: str):
        process = subprocess.Popen(
            [SCRIPT, *arguments],
            env={**os.environ, "HF_ENDPOINT": hub.url, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()
        process.stderr.close()


def wait_for_bytes(hub: LoopbackHub, count: int, path: str | None = None) -> None:
    deadline_s = time.monotonic() + 30
    while hub.bytes_sent(path, "cdn") < count:
        assert time.monotonic() < deadline_s, "the bytes do not come"
        time.sleep(0.01)


def files_in(folder: Path) -> dict[str, str]:
    """The files in a folder and their sha256, those of the script's own state left out."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
        if ".hfd" not in path.relative_to(folder).parts
    }


def files_of(repo: Repo) -> dict[str, str]:
    return {path: file.blob.sha256 for path, file in repo.head.files.items()}
