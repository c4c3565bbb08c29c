"""What hfd.sh does when something goes wrong: interrupted, lied to, refused."""

import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.hfd.conftest import TOOLS, files_in, files_of, wait_for_bytes
from tests.hub import Fault, FaultKind, Generated, HubStyle, Repo
from tests.hub.server import Line

MIB = 1 << 20
SIZE = 24 * MIB
TOKEN = "hf_secretsecretsecret"


@pytest.fixture
def repo() -> Repo:
    return Repo("org/name", {"model.gguf": Generated(SIZE), "config.json": b"{}"})


@pytest.mark.parametrize("target", ["the script alone", "all its processes"])
def test_killed_it_goes_on_where_it_stopped(start_hfd, hfd, hub_factory, repo, tool, target):
    hub = hub_factory([repo])
    hub.set_line("cdn", Line(rate_bytes_per_s=6 * MIB))
    arguments = ("org/name", "--tool", tool, "-x", "2")
    process = start_hfd(hub, *arguments)
    wait_for_bytes(hub, SIZE * 2 // 3)
    if target == "the script alone":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
    process.wait()
    assert not Path("name/model.gguf").exists()
    done = hfd(hub, *arguments)
    assert done.returncode == 0, done.stderr
    assert files_in(Path("name")) == files_of(repo)
    # aria2c notes once a second what it has; at 12 MiB/s that is half of it.
    assert hub.bytes_sent("model.gguf") <= (1.6 if tool == "aria2c" else 1.2) * SIZE
    assert list(Path("name/.hfd/parts").iterdir()) == []


def test_ctrl_c_ends_it_at_once_and_keeps_what_has_arrived(start_hfd, hfd, hub_factory, repo, tool):
    hub = hub_factory([repo])
    hub.set_line("cdn", Line(rate_bytes_per_s=4 * MIB))
    arguments = ("org/name", "--tool", tool, "-x", "1")
    process = start_hfd(hub, *arguments)
    wait_for_bytes(hub, SIZE // 2)
    asked_at = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130
    assert time.monotonic() - asked_at < 1.5
    assert "goes on where it stopped" in process.stderr.read()
    assert hfd(hub, *arguments).returncode == 0
    assert files_in(Path("name")) == files_of(repo)
    assert hub.bytes_sent("model.gguf") <= 1.3 * SIZE


@pytest.mark.parametrize(
    ("first", "second"), [("aria2c", "curl"), ("curl", "aria2c"), ("wget", "curl")]
)
def test_another_tool_may_go_on(start_hfd, hfd, hub_factory, repo, first, second):
    if not (shutil.which(first) and shutil.which(second)):
        pytest.skip(f"there is no {first} or no {second} here")
    hub = hub_factory([repo])
    hub.set_line("cdn", Line(rate_bytes_per_s=6 * MIB))
    process = start_hfd(hub, "org/name", "--tool", first)
    wait_for_bytes(hub, SIZE // 3)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
    done = hfd(hub, "org/name", "--tool", second)
    assert done.returncode == 0, done.stderr
    assert files_in(Path("name")) == files_of(repo)


@pytest.mark.parametrize("path", ["model.gguf", "config.json"])
def test_flipped_byte_never_gets_a_name(hfd, hub_factory, repo, tool, path):
    hub = hub_factory([repo])
    hub.add_fault(Fault(FaultKind.FLIP, path=path, at=0.5, times=None))
    done = hfd(hub, "org/name", "--tool", tool)
    assert done.returncode == 6, done.stderr
    assert path in done.stderr and "wrong bytes" in done.stderr
    good = set(files_of(repo)) - {path}
    assert set(files_in(Path("name"))) == good
    hub.clear_faults()
    assert hfd(hub, "org/name", "--tool", tool).returncode == 0
    assert files_in(Path("name")) == files_of(repo)


@pytest.mark.parametrize(
    ("tool", "at"),
    [
        pytest.param(tool.values[0], at, marks=tool.marks)
        for tool in TOOLS
        for at in ([0.0, 0.5, -1] if tool.values[0] == "curl" else [0.5])
    ],
)
@pytest.mark.parametrize(
    "kind",
    [
        FaultKind.FLIP,
        FaultKind.DROP,
        FaultKind.RESET,
        FaultKind.EXPIRED,
        FaultKind.UNAVAILABLE,
        FaultKind.LOGIN_PAGE,
        FaultKind.SHORT_LENGTH,
        FaultKind.LONG_LENGTH,
        FaultKind.BROKEN_LENGTH,
        FaultKind.NO_REPLY,
    ],
)
def test_fault_that_passes_is_outlived(hfd, hub_factory, repo, tool, kind, at):
    hub = hub_factory([repo])
    hub.add_fault(Fault(kind, path="model.gguf", at=at, role="cdn"))
    done = hfd(hub, "org/name", "--tool", tool)
    assert done.returncode == 0, done.stderr
    assert files_in(Path("name")) == files_of(repo)


@pytest.mark.parametrize(
    "kind", [FaultKind.UNAVAILABLE, FaultKind.RATE_LIMITED, FaultKind.NO_REPLY]
)
@pytest.mark.parametrize("path", ["/api/*", "model.gguf", "config.json"])
def test_hub_that_is_busy_once_is_asked_again(hfd, hub_factory, repo, kind, path):
    hub = hub_factory([repo])
    hub.add_fault(Fault(kind, path=path, role="hub", retry_after_s=1))
    done = hfd(hub, "org/name", "--tool", "curl")
    assert done.returncode == 0, done.stderr
    assert files_in(Path("name")) == files_of(repo)


@pytest.mark.slow
def test_server_that_ignores_ranges_when_going_on(start_hfd, hfd, hub_factory, repo, tool):
    hub = hub_factory([repo])
    hub.set_line("cdn", Line(rate_bytes_per_s=12 * MIB))
    process = start_hfd(hub, "org/name", "--tool", tool, "-x", "1")
    wait_for_bytes(hub, SIZE // 2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
    hub.add_fault(Fault(FaultKind.IGNORE_RANGE, times=None))
    done = hfd(hub, "org/name", "--tool", tool, "-x", "1")
    if done.returncode == 0:
        assert files_in(Path("name")) == files_of(repo)
    else:
        assert done.returncode == 5
        assert not Path("name/model.gguf").exists()


@pytest.mark.slow
def test_stall_is_outlived(hfd, hub_factory, repo, tool):
    hub = hub_factory([repo])
    hub.add_fault(Fault(FaultKind.STALL, path="model.gguf", at=0.5))
    assert hfd(hub, "org/name", "--tool", tool).returncode == 0
    assert files_in(Path("name")) == files_of(repo)


def test_web_page_in_place_of_the_api(hfd, hub_factory, repo):
    hub = hub_factory([repo])
    hub.add_fault(Fault(FaultKind.LOGIN_PAGE, path="/api/*", times=None))
    done = hfd(hub, "org/name")
    assert done.returncode == 5
    assert "login page" in done.stderr


def test_web_page_in_place_of_every_file(hfd, hub_factory, repo):
    hub = hub_factory([repo])
    hub.add_fault(Fault(FaultKind.LOGIN_PAGE, path="*", times=None))
    done = hfd(hub, "org/name", "--tool", "curl")
    assert done.returncode in (5, 6)
    assert files_in(Path("name")) == {}


@pytest.mark.parametrize(
    "path",
    ["../evil", "/evil", "a/../../evil", "a\\evil", "C:evil", ".hfd/verified", "a//b", "new\nline"],
)
def test_hostile_path_is_refused_before_anything_is_written(hfd, hub_factory, path, own_folder):
    done = hfd(hub_factory([Repo("org/name", {path: b"evil", "good": b"1"})]), "org/name")
    assert done.returncode == 6
    assert "not safe to write" in done.stderr
    assert files_in(own_folder) == {}
    assert not (own_folder.parent / "evil").exists()


def test_gated_repository_without_a_token(hfd, hub_factory):
    repo = Repo("org/name", {f"m{n}.bin": b"1" for n in range(9)}, gated="manual", readers=["me"])
    hub = hub_factory([repo], tokens={TOKEN: "me", "hf_other": "other"})
    done = hfd(hub, "org/name")
    assert done.returncode == 4
    assert f"{hub.url}/org/name" in done.stderr and "HF_TOKEN" in done.stderr
    assert done.stderr.count("error:") == 1
    done = hfd(hub, "org/name", HF_TOKEN="hf_other")
    assert done.returncode == 4
    assert "this token has no access" in done.stderr


class Watch(threading.Thread):
    """Looks for the token in all processes' arguments and in the files of some folders."""

    def __init__(self, *folders: Path) -> None:
        super().__init__()
        self.folders = folders
        self.is_over = threading.Event()
        self.seen: set[str] = set()
        self.n_looks = 0

    def run(self) -> None:
        while not self.is_over.is_set():
            for name in filter(str.isdigit, os.listdir("/proc")):
                self._look(Path("/proc", name, "cmdline"), 1 << 16)
            for folder in self.folders:
                for parent, _, names in os.walk(folder):
                    for name in names:
                        self._look(Path(parent, name), 1 << 12)
            self.n_looks += 1

    def _look(self, path: Path, limit: int) -> None:
        try:
            with path.open("rb") as file:
                if TOKEN.encode() in file.read(limit):
                    self.seen.add(str(path))
        except OSError:
            pass


@pytest.mark.parametrize("style", [HubStyle.HUGGINGFACE, HubStyle.OLAH])
def test_token_is_in_no_file_no_process_list_and_not_at_the_cdn(
    start_hfd, hub_factory, tool, style, own_folder
):
    files = {"m.bin": Generated(4 * MIB), **{f"f{n}.json": b"%d" % n for n in range(5)}}
    repo = Repo("org/name", files, gated="manual", readers=["me"])
    hub = hub_factory([repo], tokens={TOKEN: "me"}, style=style, rate_bytes_per_s=4 * MIB)
    watch = Watch(own_folder, own_folder.parent / "tmp")
    watch.start()
    try:
        process = start_hfd(hub, "org/name", "--tool", tool, HF_TOKEN=TOKEN)
        assert process.wait(30) == 0, process.stderr.read()
    finally:
        watch.is_over.set()
        watch.join()
    assert watch.n_looks > 3
    assert watch.seen == set()
    assert files_in(Path("name")) == files_of(repo)
    assert any(request.has_authorization for request in hub.requests)
    assert not any(r.has_authorization for r in hub.requests if r.role == "cdn")
    assert TOKEN not in process.stderr.read()


def test_token_given_as_an_option_leaves_the_process_list(start_hfd, hub_factory, repo):
    hub = hub_factory([repo], tokens={TOKEN: "me"})
    hub.set_line("cdn", Line(rate_bytes_per_s=4 * MIB))
    process = start_hfd(
        hub, "org/name", "--tool", "curl", "--hf_token", TOKEN, "--hf_username", "me"
    )
    wait_for_bytes(hub, MIB)
    watch = Watch()
    watch.start()
    time.sleep(0.5)
    watch.is_over.set()
    watch.join()
    assert watch.seen == set()
    assert any(request.has_authorization for request in hub.requests)
    process.kill()


def test_token_that_would_be_two_headers_is_refused(hfd, hub_factory, repo):
    hub = hub_factory([repo])
    assert hfd(hub, "org/name", HF_TOKEN='x"\nurl = "file:///etc/passwd').returncode == 2
    assert hub.requests == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["org/other"], 3),
        (["org/name", "--revision", "nothing"], 3),
        (["org/name", "--include", "*.nothing"], 3),
        (["org/name", "--tol", "curl"], 2),
        (["org/name", "--tool", "axel"], 2),
        (["org/name", "-x", "17"], 2),
        (["org/name", "-j", "0"], 2),
        (["org/name", "--revision"], 2),
        (["org/name", "org/second"], 2),
        (["../name"], 2),
        ([], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_exit_code_says_what_is_wrong(hfd, hub_factory, repo, arguments, code):
    done = hfd(hub_factory([repo]), *arguments)
    assert done.returncode == code
    assert "error: " in done.stderr


def test_hub_that_is_down(hfd, hub_factory, repo):
    hub = hub_factory([repo])
    hub.add_fault(Fault(FaultKind.DEAD, times=None, role="hub"))
    done = hfd(hub, "org/name")
    assert done.returncode == 5
    assert "does not answer" in done.stderr


def test_second_run_on_the_same_folder_says_who_is_there(start_hfd, hfd, hub_factory, repo):
    hub = hub_factory([repo])
    hub.set_line("cdn", Line(rate_bytes_per_s=4 * MIB))
    process = start_hfd(hub, "org/name", "--tool", "curl")
    wait_for_bytes(hub, MIB)
    done = hfd(hub, "org/name")
    assert done.returncode == 8
    assert f"process {process.pid}" in done.stderr


def test_partial_file_of_a_changed_one_does_not_stay(start_hfd, hfd, hub_factory, repo):
    hub = hub_factory([repo])
    hub.set_line("cdn", Line(rate_bytes_per_s=12 * MIB))
    process = start_hfd(hub, "org/name", "--tool", "curl")
    wait_for_bytes(hub, SIZE // 2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
    hub.commit("org/name", {"model.gguf": Generated(MIB, 7)})
    assert hfd(hub, "org/name").returncode == 0
    assert files_in(Path("name")) == files_of(repo)
    assert list(Path("name/.hfd/parts").iterdir()) == []
