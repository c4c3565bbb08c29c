"""The hub in a process of its own: the control pipe and the command line."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub import Authority, Fault, FaultKind, Generated, Repo
from tests.hub.__main__ import parse_fault, parse_generated, parse_size
from tests.hub.fixtures import HubProcessFactory
from tests.hub.process import PROJECT_ROOT, HubProcess
from tests.hub_server.client import cdn_link, fetch


@pytest.mark.parametrize("tls", [False, True])
def test_hub_process_has_the_interface_of_the_hub(tls: bool) -> None:
    repo = Repo("org/name", {"model.gguf": Generated(300_000), "a.txt": b"1"})
    with HubProcess([repo], tls=tls) as hub:
        url = f"{hub.url}/org/name/resolve/main"
        hub.add_fault(Fault(FaultKind.DROP, path="model.gguf", at=1000))
        link = cdn_link(f"{url}/model.gguf", ca_file=hub.ca_file)
        assert len(fetch(link, ca_file=hub.ca_file).body) == 1000
        assert hub.bytes_sent("model.gguf") == 1000
        assert [record.status for record in hub.requests] == [302, 200]
        assert hub.connections_peak >= 1
        assert hub.commit("org/name", {"a.txt": b"2"}) != repo.sha
        assert fetch(f"{url}/a.txt", ca_file=hub.ca_file).body == b"2"
        assert hub.cpu_seconds() > 0
        hub.reset()
        assert hub.requests == []
        with pytest.raises(StopIteration):
            hub.commit("org/unknown", {})
        pid = hub.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_hub_processes_of_a_test_share_an_authority(
    hub_process_factory: HubProcessFactory, hub_authority: Authority
) -> None:
    repo = Repo("org/name", {"a.txt": b"1"})
    hubs = [hub_process_factory([repo], tls=True) for _ in range(2)]
    addresses = [f"{hub.url}/org/name/resolve/main/a.txt" for hub in hubs]
    assert [fetch(a, ca_file=hub_authority.ca_file).body for a in addresses] == [b"1", b"1"]


@contextlib.contextmanager
def run_hub(*arguments: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.hub", *arguments],
        cwd=PROJECT_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        try:
            assert child.stdout is not None
            yield child, child.stdout.readline().strip()
        finally:
            child.kill()


def test_command_line_serves_a_folder_until_sigterm(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "config.json").write_text("{}")
    fault = "status:sub/*:-:1"
    with run_hub("--root", str(tmp_path), "--repo", "org/folder", "--fault", fault) as (child, url):
        address = f"{url}/org/folder/resolve/main/sub/config.json"
        assert fetch(address).status == 500
        assert fetch(address).body == b"{}"
        child.send_signal(signal.SIGTERM)
        assert child.wait(5) == 0


def test_command_line_ends_with_its_standard_input(tmp_path: Path) -> None:
    arguments = ["--generate", "big.gguf:2M", "--tls", str(tmp_path), "--stdin-lifetime"]
    with run_hub(*arguments) as (child, url):
        info = fetch(f"{url}/api/models/org/name?blobs=1", ca_file=tmp_path / "ca.pem").document
        assert info["siblings"][0]["size"] == 2 << 20
        assert child.stdin is not None
        child.stdin.close()
        assert child.wait(5) == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("drop", Fault(FaultKind.DROP)),
        ("drop:m.gguf:0.5:3:cdn", Fault(FaultKind.DROP, "m.gguf", 0.5, 3, "cdn")),
        ("flip:*:100:always", Fault(FaultKind.FLIP, "*", 100, None)),
        ("stall::-:2:hub", Fault(FaultKind.STALL, None, None, 2, "hub")),
    ],
)
def test_fault_is_read_from_the_command_line(text: str, expected: Fault) -> None:
    assert parse_fault(text) == expected


def test_sizes_are_read_from_the_command_line() -> None:
    assert [parse_size(s) for s in ("10", "4k", "1.5M", "5G")] == [10, 4096, 3 << 19, 5 << 30]
    assert parse_generated("a/b.gguf:4k:7") == ("a/b.gguf", Generated(4096, 7))


def test_hub_process_ends_when_its_parent_is_killed() -> None:
    script = (
        "from tests.hub.process import HubProcess\n"
        "with HubProcess() as hub:\n"
        "    print(hub.pid, flush=True)\n"
        "    input()\n"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(
        command, cwd=PROJECT_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        hub_stat = Path("/proc") / parent.stdout.readline().strip() / "stat"
        assert hub_stat.exists()
        parent.kill()
    deadline = time.monotonic() + 5
    while is_alive(hub_stat) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_alive(hub_stat)


def is_alive(stat: Path) -> bool:
    """Whether a process runs; one that nobody has waited for counts as ended."""
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
