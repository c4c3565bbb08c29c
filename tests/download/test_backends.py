"""aria2c and hf_transfer, the real ones, under qtool's plan and verification."""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from qtool.download import FileFinished, FileStatus, Planned, Progress
from qtool.download.request import Backend
from qtool.errors import (
    EnvironmentFault,
    IntegrityError,
    NetworkError,
    ResourceError,
    UsageError,
)
from qtool.hub.sockets import tls_context
from tests.hub import Fault, FaultKind, Generated, HubStyle, Repo, read_content
from tests.hub.proxy import HttpProxy
from tests.hub.socks import SocksProxy

MIB = 1024 * 1024
SIZE = 6 * MIB + 7

needs_aria2c = pytest.mark.skipif(
    shutil.which("aria2c") is None, reason="aria2c is not on PATH (apt-get install aria2)"
)
needs_hf_transfer = pytest.mark.skipif(
    importlib.util.find_spec("hf_transfer") is None, reason="hf_transfer has no wheel here"
)
aria2c = pytest.param(Backend.ARIA2C, marks=needs_aria2c)
hf_transfer = pytest.param(Backend.HF_TRANSFER, marks=needs_hf_transfer)
each_backend = pytest.mark.parametrize("backend", [aria2c, hf_transfer])

AGENTS = {Backend.ARIA2C: "aria2/", Backend.HF_TRANSFER: "hf_transfer"}


@pytest.fixture
def repo():
    return Repo("org/name", {"m.gguf": Generated(SIZE), "small.txt": b"small", "none": b""})


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr("qtool.download.pacing.FIRST_WAIT_S", 0.02)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def trusting(monkeypatch):
    """Return a function that makes this process and its children trust a hub's certificate."""

    def trust(hub):
        monkeypatch.setenv("SSL_CERT_FILE", str(hub.ca_file))
        tls_context.cache_clear()

    yield trust
    tls_context.cache_clear()


def agents(hub, path="m.gguf", role="cdn"):
    """Return who asked a hub for a file."""
    asked = [r for r in hub.requests if r.path == path and r.role == role]
    return {request.headers.get("user-agent", "") for request in asked}


def is_fetched_by(backend, hub, path="m.gguf", role="cdn"):
    return any(AGENTS[backend] in agent for agent in agents(hub, path, role))


def staged(fetch):
    """Return the names of what lies unverified in the target."""
    return [path.name for path in fetch.target.rglob("staging/*")]


def is_clean(fetch):
    return fetch.files().keys() <= {"small.txt", "none"} and staged(fetch) == []


@each_backend
def test_large_files_come_by_the_program_and_small_ones_by_qtool(
    hub_factory, fetch, is_right, repo, backend
):
    hub = hub_factory([repo])
    result = fetch(hub, backend=backend)
    assert result.failures == ()
    assert is_right(fetch, repo) and staged(fetch) == []
    assert is_fetched_by(backend, hub)
    assert not is_fetched_by(backend, hub, "small.txt", "hub")
    assert {file.status for file in result.files} == {FileStatus.DOWNLOADED}
    assert result.endpoints == {hub.url: SIZE + len(b"small")}


@each_backend
def test_second_run_finds_nothing_to_do(hub_factory, fetch, repo, backend):
    hub = hub_factory([repo])
    fetch(hub, backend=backend)
    hub.reset()
    result = fetch(hub, backend=backend)
    assert {file.status for file in result.files} == {FileStatus.SKIPPED}
    assert len(hub.requests) == 1


@each_backend
def test_cache_gets_the_same_blobs_and_equal_files_are_fetched_once(
    hub_factory, fetch, tmp_path, backend
):
    twin = read_content(Generated(SIZE))
    repo = Repo("org/name", {"a/m.gguf": twin, "b/m.gguf": twin, "config.json": b"{}"})
    hub = hub_factory([repo])
    result = fetch(hub, backend=backend, cache_dir=tmp_path / "hub")
    assert result.failures == ()
    assert (result.path / "a/m.gguf").read_bytes() == twin
    assert (result.path / "b/m.gguf").resolve() == (result.path / "a/m.gguf").resolve()
    assert sum(hub.bytes_sent(path, "cdn") for path in ("a/m.gguf", "b/m.gguf")) < 1.6 * SIZE


@each_backend
def test_events_tell_the_plan_once_and_rising_progress(hub_factory, fetch, repo, backend):
    hub = hub_factory([repo], rate_bytes_per_s=MIB)
    events = []
    fetch(hub, backend=backend, connections=2, on_event=events.append)
    (plan,) = [event for event in events if isinstance(event, Planned)]
    total = SIZE + len(b"small")
    assert (plan.n_files, plan.bytes_total) == (3, total)
    progress = [event for event in events if isinstance(event, Progress)]
    done = [event.bytes_done for event in progress]
    assert done == sorted(done) and done[-1] == total
    assert len({one for one in done if 0 < one < SIZE}) >= 2
    assert any(event.rate_bytes_per_s > 0 for event in progress)
    assert {(event.n_files, event.bytes_total) for event in progress} == {(3, total)}
    finished = [event.result.path for event in events if isinstance(event, FileFinished)]
    assert sorted(finished) == ["m.gguf", "none", "small.txt"]


@each_backend
@pytest.mark.parametrize("at", [0, 0.5, -1])
def test_wrong_byte_never_gets_a_final_name(hub_factory, fetch, is_right, repo, backend, at):
    hub = hub_factory([repo])
    hub.add_fault(Fault(FaultKind.FLIP, path="m.gguf", at=at, times=None, role="cdn"))
    (failure,) = fetch(hub, backend=backend).failures
    assert isinstance(failure.error, IntegrityError)
    assert f"(from {hub.url}, by {backend})" in failure.error.message
    assert is_clean(fetch)
    hub.clear_faults()
    assert fetch(hub, backend=backend).failures == ()
    assert is_right(fetch, repo)


@each_backend
@pytest.mark.parametrize(
    "fault",
    [
        Fault(FaultKind.DROP, at=0.5),
        Fault(FaultKind.RESET, at=0.5),
        Fault(FaultKind.UNAVAILABLE, times=3),
        Fault(FaultKind.RATE_LIMITED, retry_after_s=1),
        Fault(FaultKind.EXPIRED, times=3),
        Fault(FaultKind.LOGIN_PAGE),
        Fault(FaultKind.NO_REPLY),
    ],
    ids=lambda fault: fault.kind,
)
def test_passing_fault_is_overcome(hub_factory, fetch, is_right, repo, backend, fault):
    hub = hub_factory([repo])
    fields = {name: getattr(fault, name) for name in ("kind", "at", "times", "retry_after_s")}
    hub.add_fault(Fault(**fields, path="m.gguf", role="cdn"))
    assert fetch(hub, backend=backend).failures == ()
    assert is_right(fetch, repo)


@each_backend
def test_stalled_connection_is_overcome(hub_factory, fetch, is_right, repo, backend, monkeypatch):
    monkeypatch.setattr("qtool.download.backends.child.STALL_S", 1.0)
    hub = hub_factory([repo])
    hub.add_fault(Fault(FaultKind.STALL, path="m.gguf", at=0.9, role="cdn"))
    assert fetch(hub, backend=backend).failures == ()
    assert is_right(fetch, repo)


@each_backend
@pytest.mark.parametrize("kind", [FaultKind.DEAD, FaultKind.LOGIN_PAGE, FaultKind.SHORT_LENGTH])
def test_lasting_fault_is_an_error_and_leaves_no_wrong_file(
    hub_factory, fetch, repo, backend, kind
):
    hub = hub_factory([repo])
    hub.add_fault(
        Fault(kind, path=None if kind is FaultKind.DEAD else "m.gguf", times=None, role="cdn")
    )
    (failure,) = fetch(hub, backend=backend).failures
    assert failure.path == "m.gguf"
    assert isinstance(failure.error, NetworkError | IntegrityError)
    assert "m.gguf" not in fetch.files()


@each_backend
def test_token_goes_to_the_hub_and_not_to_the_program(hub_factory, fetch, is_right, backend):
    repo = Repo(
        "org/name",
        {"m.gguf": Generated(SIZE), "tok.json": Generated(MIB)},
        gated="auto",
        readers={"ada"},
    )
    hub = hub_factory([repo], tokens={"hf_secret": "ada"})
    assert fetch(hub, backend=backend, token="hf_secret").failures == ()
    assert is_right(fetch, repo)
    assert is_fetched_by(backend, hub)
    assert not is_fetched_by(backend, hub, "tok.json", "hub")
    for request in hub.requests:
        if request.has_authorization:
            assert request.role == "hub"
            assert request.headers["user-agent"].endswith(tuple("0123456789"))


@each_backend
def test_mirror_that_needs_no_token_is_left_to_the_program(hub_factory, fetch, repo, backend):
    hub = hub_factory([repo], tokens={"hf_secret": "ada"}, style=HubStyle.OLAH)
    assert fetch(hub, backend=backend, token="hf_secret").failures == ()
    by_program = [r for r in hub.requests if AGENTS[backend] in r.headers.get("user-agent", "")]
    assert by_program and not any(request.has_authorization for request in by_program)


@each_backend
def test_program_sees_no_token_in_arguments_or_environment(
    hub_factory, fetch, repo, backend, monkeypatch
):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub = hub_factory([repo], tokens={"hf_secret": "ada"}, rate_bytes_per_s=MIB)
    seen = []

    def look(event):
        seen.extend(children())

    result = fetch(hub, backend=backend, token="hf_secret", connections=2, on_event=look)
    assert result.failures == ()
    assert seen
    for arguments, environment in seen:
        assert b"hf_secret" not in arguments + environment
        assert b"Signature" not in arguments and hub.cdn_url.encode() not in arguments


def children():
    """Return arguments and environment of the programs below this process, as others see them."""
    found = []
    for pid in child_pids():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            folder = Path(f"/proc/{pid}")
            found.append(((folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()))
    # Between fork and exec a child still looks like this process.
    return [(a, e) for a, e in found if b"aria2c" in a[:20] or b"hf_transfer_child" in a]


def child_pids():
    done = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(os.getpid())], capture_output=True, text=True
    )
    return [int(pid) for pid in done.stdout.split()]


@each_backend
def test_encrypted_download_trusts_the_given_certificates(
    hub_factory, fetch, is_right, repo, backend, trusting
):
    hub = hub_factory([repo], tls=True)
    trusting(hub)
    assert fetch(hub, backend=backend).failures == ()
    assert is_right(fetch, repo)
    assert is_fetched_by(backend, hub)


@each_backend
@pytest.mark.parametrize("tls", [False, True])
def test_proxy_with_a_password_is_passed_on(
    hub_factory, fetch, is_right, repo, backend, tls, trusting, monkeypatch
):
    hub = hub_factory([repo], tls=tls)
    if tls:
        trusting(hub)
    with HttpProxy() as proxy:
        monkeypatch.setenv("https_proxy" if tls else "http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        assert fetch(hub, backend=backend).failures == ()
        heads = list(proxy.heads)
    assert is_right(fetch, repo)
    from_program = [head for head in heads if AGENTS[backend] in head] or heads[-3:]
    assert all("Basic YWRhOnBAc3M=" in head for head in from_program)
    assert len(heads) >= 3


@each_backend
def test_host_that_no_proxy_names_is_asked_directly(
    hub_factory, fetch, is_right, repo, backend, monkeypatch
):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    hub = hub_factory([repo])
    assert fetch(hub, backend=backend).failures == ()
    assert is_right(fetch, repo)


@each_backend
def test_socks_proxy_is_refused_before_anything_is_asked(
    hub_factory, fetch, repo, backend, monkeypatch
):
    hub = hub_factory([repo])
    with SocksProxy() as proxy:
        monkeypatch.setenv("ALL_PROXY", f"socks5h://ada:secret@{proxy.address}")
        with pytest.raises(UsageError, match="cannot go through the proxy socks5h") as caught:
            fetch(hub, backend=backend)
    assert "secret" not in str(caught.value)
    assert hub.requests == []


@needs_aria2c
def test_rate_is_limited_by_aria2c(hub_factory, fetch, repo):
    hub = hub_factory([repo])
    started_s = time.monotonic()
    fetch(hub, backend=Backend.ARIA2C, rate_limit_bytes_per_s=3.0 * MIB)
    assert time.monotonic() - started_s > 1.2


@needs_hf_transfer
def test_rate_limit_is_refused_for_hf_transfer(hub_factory, fetch, repo):
    hub = hub_factory([repo])
    with pytest.raises(UsageError, match="cannot limit"):
        fetch(hub, backend=Backend.HF_TRANSFER, rate_limit_bytes_per_s=3.0 * MIB)
    assert hub.requests == []


@needs_aria2c
def test_more_connections_than_aria2c_makes_are_refused(hub_factory, fetch, repo):
    with pytest.raises(UsageError, match="16 connections"):
        fetch(hub_factory([repo]), backend=Backend.ARIA2C, connections=17)


@each_backend
def test_connections_are_as_many_as_asked_for(hub_factory, fetch, repo, backend):
    hub = hub_factory([repo], rate_bytes_per_s=2 * MIB)
    fetch(hub, backend=backend, connections=3)
    assert 2 <= hub.connections("cdn")[1] <= 4  # qtool's own, which resolved the link, is one more


@needs_hf_transfer
def test_missing_library_is_an_environment_fault(hub_factory, fetch, repo, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault) as caught:
        fetch(hub_factory([repo]), backend=Backend.HF_TRANSFER)
    assert caught.value.hint == f"{sys.executable} -m pip install hf_transfer"


def test_missing_program_is_an_environment_fault(hub_factory, fetch, repo, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentFault) as caught:
        fetch(hub_factory([repo]), backend=Backend.ARIA2C)
    assert "apt-get install aria2" in caught.value.hint


def stop_in_the_middle(hub, fetch, backend):
    """Start a download, stop it when a part is there, and return the bytes sent by then."""
    stop = threading.Event()

    def watch(event):
        if isinstance(event, Progress) and event.bytes_done > 2 * MIB:
            stop.set()

    with pytest.raises(KeyboardInterrupt):
        fetch(hub, backend=backend, connections=2, on_event=watch, stop=stop)
    return hub.bytes_sent("m.gguf", "cdn")


@each_backend
def test_stop_ends_the_program_and_leaves_no_final_name(hub_factory, fetch, repo, backend):
    hub = hub_factory([repo], rate_bytes_per_s=MIB)
    threads = threading.active_count()
    stop_in_the_middle(hub, fetch, backend)
    assert children() == []
    assert "m.gguf" not in fetch.files()
    assert threading.active_count() <= threads + 2  # the hub's own


@needs_aria2c
def test_aria2c_goes_on_where_it_stopped(hub_factory, fetch, is_right, repo):
    hub = hub_factory([repo], rate_bytes_per_s=MIB)
    stop_in_the_middle(hub, fetch, Backend.ARIA2C)
    (result, *_) = fetch(hub, backend=Backend.ARIA2C).files
    assert (result.path, result.status) == ("m.gguf", FileStatus.RESUMED)
    assert is_right(fetch, repo) and staged(fetch) == []
    assert hub.bytes_sent("m.gguf", "cdn") < 1.5 * SIZE


@each_backend
def test_what_was_stopped_while_it_was_verified_is_not_fetched_again(
    hub_factory, fetch, is_right, repo, backend, monkeypatch
):
    hub, stop = hub_factory([repo]), threading.Event()

    def stopped(*arguments):
        stop.set()
        return False

    with monkeypatch.context() as patch:
        patch.setattr("qtool.download.backends.bringer.hash_file", stopped)
        with pytest.raises(KeyboardInterrupt):
            fetch(hub, backend=backend, stop=stop)
    assert fetch.files() == {} and len(staged(fetch)) == 1
    hub.reset()
    (result, *_) = fetch(hub, backend=backend).files
    assert (result.path, result.status) == ("m.gguf", FileStatus.RESUMED)
    assert is_right(fetch, repo) and staged(fetch) == []
    assert hub.bytes_sent("m.gguf") == 0


@needs_aria2c
def test_what_an_earlier_run_left_wrong_is_fetched_anew(hub_factory, fetch, is_right, repo):
    hub = hub_factory([repo], rate_bytes_per_s=MIB)
    stop_in_the_middle(hub, fetch, Backend.ARIA2C)
    (part,) = [path for path in fetch.target.rglob("staging/*") if path.suffix == ".aria2c"]
    size = part.stat().st_size
    part.write_bytes(bytes(size))
    hub.set_line("cdn", type(hub._servers["cdn"].line)())
    assert fetch(hub, backend=Backend.ARIA2C).failures == ()
    assert is_right(fetch, repo)


@needs_aria2c
@pytest.mark.parametrize(
    "order", [(Backend.ARIA2C, Backend.NATIVE), (Backend.NATIVE, Backend.ARIA2C)]
)
def test_changing_the_backend_leaves_nothing_behind(hub_factory, fetch, is_right, repo, order):
    hub = hub_factory([repo], rate_bytes_per_s=MIB)
    stop_in_the_middle(hub, fetch, order[0])
    assert fetch(hub, backend=order[1]).failures == ()
    assert is_right(fetch, repo) and staged(fetch) == []


@needs_aria2c
def test_repair_leaves_nothing_of_a_backend_that_was_stopped(hub_factory, fetch, is_right, repo):
    hub = hub_factory([repo], rate_bytes_per_s=MIB)
    stop_in_the_middle(hub, fetch, Backend.ARIA2C)
    assert fetch(hub, backend=Backend.ARIA2C, is_repair=True).failures == ()
    assert is_right(fetch, repo) and staged(fetch) == []


@needs_aria2c
def test_changed_file_is_not_resumed(hub_factory, fetch, is_right, repo):
    hub = hub_factory([repo], rate_bytes_per_s=MIB)
    stop_in_the_middle(hub, fetch, Backend.ARIA2C)
    hub.commit("org/name", {"m.gguf": Generated(SIZE, seed=9)})
    assert fetch(hub, backend=Backend.ARIA2C).failures == ()
    assert is_right(fetch, repo) and staged(fetch) == []


@each_backend
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_full_disk_is_a_resource_error(hub_factory, fetch, repo, backend, monkeypatch):
    monkeypatch.setattr("qtool.download.backends.fetch.check_space", lambda *_: None)
    fetch.target.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", fetch.target])
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        with pytest.raises(ResourceError, match="the disk is full"):
            for failure in fetch(hub_factory([repo]), backend=backend).failures:
                raise failure.error
        assert "m.gguf" not in fetch.files()
    finally:
        subprocess.run(["umount", fetch.target], check=True)


@each_backend
def test_space_is_checked_before_the_first_byte(hub_factory, fetch, repo, backend, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=MIB)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    hub = hub_factory([repo])
    with pytest.raises(ResourceError, match="are to be written"):
        fetch(hub, backend=backend)
    assert hub.bytes_sent("m.gguf") == 0
