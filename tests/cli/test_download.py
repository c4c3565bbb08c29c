"""``qtool download`` as a process, against the loopback hub."""

import hashlib
import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import pexpect
import pytest

from tests.cli.download import start_download
from tests.hub import Fault, FaultKind, Generated, Repo
from tests.hub.server import Line

MIB = 1024 * 1024
SIZE = 24 * MIB


@pytest.fixture
def repo():
    return Repo("org/name", {"model-Q4_K_M.gguf": Generated(SIZE), "config.json": b"{}"})


def sha256_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def wait_for_bytes(hub, count):
    deadline_s = time.monotonic() + 30
    while hub.bytes_sent("model-Q4_K_M.gguf", "cdn") < count:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_repository_lands_in_a_folder_of_its_name(qtool, hub_factory, repo, tmp_path):
    done = qtool(hub_factory([repo]), "-x", "8")
    assert done.returncode == 0, done.stderr
    model = repo.file("model-Q4_K_M.gguf")
    assert sha256_of(tmp_path / "name/model-Q4_K_M.gguf") == model.blob.sha256
    assert "next: qtool chat ./name/model-Q4_K_M.gguf" in done.stdout
    assert "2 files" in done.stdout


def test_result_as_json(qtool, hub_factory, repo):
    hub = hub_factory([repo])
    done = qtool(hub, "--json")
    result = json.loads(done.stdout)
    assert done.stderr == ""
    assert result["schema_version"] == 1
    assert result["repo"] == "org/name" and result["commit"] == repo.sha
    assert {file["path"]: file["status"] for file in result["files"]} == {
        "config.json": "downloaded",
        "model-Q4_K_M.gguf": "downloaded",
    }
    assert result["bytes_transferred"] == SIZE + 2
    assert result["endpoints"] == {hub.url: SIZE + 2}


@pytest.mark.parametrize("option", ["--quiet", "--verify", "--dry-run"])
def test_name_that_this_system_cannot_spell_is_said_so(
    qtool, hub_factory, tmp_path, monkeypatch, option
):
    hub = hub_factory([Repo("org/name", {"模型.txt": b"text"})])
    for name, value in {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}.items():
        monkeypatch.setenv(name, value)
    done = qtool(hub, option)
    assert done.returncode == 7
    assert "names are in ascii" in done.stderr and "LC_ALL=C.UTF-8" in done.stderr
    assert not any(tmp_path.rglob("*.txt"))


def test_nothing_to_do_is_quick(qtool, hub_factory, repo):
    hub = hub_factory([repo])
    qtool(hub)
    hub.reset()
    before = os.times()
    done = qtool(hub, "--json")
    after = os.times()
    assert {file["status"] for file in json.loads(done.stdout)["files"]} == {"skipped"}
    assert len(hub.requests) == 1
    # 0.12 s on an idle machine; on a busy one only the time of the processor says something.
    user_s = after.children_user - before.children_user
    system_s = after.children_system - before.children_system
    assert user_s + system_s < 0.5


def test_killed_download_goes_on_where_it_was(qtool, hub_factory, repo, tmp_path):
    hub = hub_factory([repo], rate_bytes_per_s=2 * MIB)
    victim = start_download(hub, tmp_path, "-x", "8")
    wait_for_bytes(hub, SIZE // 2)
    victim.kill()
    victim.communicate()
    assert not (tmp_path / "name/model-Q4_K_M.gguf").exists()
    hub.set_line("cdn", Line(None, 0.0, None, 503))
    done = qtool(hub, "--json")
    statuses = {file["path"]: file["status"] for file in json.loads(done.stdout)["files"]}
    assert statuses["model-Q4_K_M.gguf"] == "resumed"
    expected = repo.file("model-Q4_K_M.gguf").blob.sha256
    assert sha256_of(tmp_path / "name/model-Q4_K_M.gguf") == expected
    assert hub.bytes_sent("model-Q4_K_M.gguf", "cdn") <= 1.1 * SIZE
    left = [p.name for p in (tmp_path / "name/.cache/qtool").rglob("*") if p.is_file()]
    digest = repo.file("model-Q4_K_M.gguf").blob.sha256
    assert sorted(left) == sorted([".gitignore", "lock", "manifest", "source.json", digest])


def test_flipped_byte_is_an_integrity_failure(qtool, hub_factory, repo, tmp_path):
    hub = hub_factory([repo])
    hub.add_fault(Fault(FaultKind.FLIP, path="*.gguf", at=0.5))
    done = qtool(hub)
    assert done.returncode == 6
    assert "model-Q4_K_M.gguf" in done.stderr
    assert "hint: run the same command again" in done.stderr
    assert not list((tmp_path / "name").glob("*.gguf"))
    assert qtool(hub).returncode == 0


def test_flipped_byte_as_json_is_one_object_with_the_error(qtool, hub_factory, repo):
    hub = hub_factory([repo])
    hub.add_fault(Fault(FaultKind.FLIP, path="*.gguf", at=0.5))
    done = qtool(hub, "--json")
    result = json.loads(done.stdout)
    assert result["error"]["code"] == "integrity"
    assert {file["status"] for file in result["files"]} == {"downloaded", "failed"}


def test_interruption_ends_at_once_and_says_how_to_go_on(hub_factory, repo, tmp_path):
    hub = hub_factory([repo], rate_bytes_per_s=MIB)
    process = start_download(hub, tmp_path)
    wait_for_bytes(hub, MIB)
    process.send_signal(signal.SIGINT)
    started_at = time.monotonic()
    _, said = process.communicate(timeout=10)
    assert time.monotonic() - started_at < 1.0
    assert process.returncode == 130
    assert "run the same command again" in said


def test_interruption_while_the_server_is_silent(hub_factory, repo, tmp_path):
    hub = hub_factory([repo])
    hub.add_fault(Fault(FaultKind.STALL, path="*.gguf", at=0.0, times=None, of="response"))
    process = start_download(hub, tmp_path)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    started_at = time.monotonic()
    process.communicate(timeout=10)
    assert time.monotonic() - started_at < 1.0
    assert process.returncode == 130


def test_second_download_into_one_folder_says_who_is_at_work(qtool, hub_factory, repo, tmp_path):
    hub = hub_factory([repo], rate_bytes_per_s=MIB // 4)
    first = start_download(hub, tmp_path)
    try:
        wait_for_bytes(hub, MIB)
        second = qtool(hub)
        assert second.returncode == 8
        assert f"process {first.pid}" in second.stderr
    finally:
        first.kill()
        first.communicate()


def test_dry_run_lists_sizes(qtool, hub_factory, repo, tmp_path):
    done = qtool(hub_factory([repo]), "--dry-run")
    assert "25.2 MB  model-Q4_K_M.gguf" in done.stdout
    assert not (tmp_path / "name").exists()


def test_verification_exits_with_integrity_when_something_is_wrong(
    qtool, hub_factory, repo, tmp_path
):
    hub = hub_factory([repo])
    qtool(hub)
    assert qtool(hub, "--verify").returncode == 0
    (tmp_path / "name/config.json").write_text("no")
    done = qtool(hub, "--verify")
    assert done.returncode == 6
    assert "changed   config.json" in done.stdout
    assert "1 of 2 files is not right" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--limit-rate", "fast"], 2),
        (["--endpoint", "ftp://x"], 2),
        (["--local-dir", "a", "--cache"], 2),
        (["--revision", "nope"], 3),
        (["--revision", "/abs/x", "--cache"], 2),
        (["--revision", "../x"], 2),
        (["--revision", ""], 2),
        (["absent.txt"], 3),
        (["--endpoint", "http://127.0.0.1:9"], 5),
    ],
)
def test_failure_has_its_exit_code(qtool, hub_factory, repo, arguments, code):
    done = qtool(hub_factory([repo]), *arguments, "--json")
    assert done.returncode == code, done.stderr
    assert set(json.loads(done.stdout)["error"]) == {"code", "message", "hint"}


def test_what_is_wrong_with_all_files_is_said_once(qtool, hub_factory):
    files = {f"{number}.txt": b"text" for number in range(5)}
    done = qtool(hub_factory([Repo("org/name", files, gated="manual")]))
    assert done.returncode == 4
    assert "0.txt and 4 more: org/name is gated" in done.stderr
    assert done.stderr.count("accept the terms at") == 1
    assert done.stderr.count(": failed") == 3
    assert "name: no file of it is there" in done.stdout


@pytest.mark.parametrize("named", ["org/name/sub/m.gguf", "org/name/sub/*.gguf"])
def test_file_behind_the_name_is_the_only_one_fetched(
    run_qtool, hub_factory, tmp_path, monkeypatch, named
):
    hub = hub_factory([Repo("org/name", {"sub/m.gguf": b"GGUF", "config.json": b"{}"})])
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    done = run_qtool("download", named, "--json", cwd=tmp_path)
    assert [file["path"] for file in json.loads(done.stdout)["files"]] == ["sub/m.gguf"]
    assert (tmp_path / "name/sub/m.gguf").read_bytes() == b"GGUF"


def test_token_is_never_said(qtool, hub_factory, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    repo = Repo("org/name", {"a.bin": b"1"}, gated="auto")
    done = qtool(hub_factory([repo]), "--debug")
    assert done.returncode == 4
    assert "hf_secret" not in done.stdout + done.stderr


def test_pasted_address_does_not_get_the_token(run_qtool, hub_factory, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    hub = hub_factory([Repo("org/name", {"a.bin": b"1"})])
    done = run_qtool("download", f"{hub.url}/org/name", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert hub.requests
    assert all("authorization" not in request.headers for request in hub.requests)


def test_what_the_hub_lists_no_digest_of_is_not_called_verified(qtool, hub_factory, monkeypatch):
    bare = {"rfilename": "a.txt", "size": 2}
    monkeypatch.setattr("tests.hub.api._sibling", lambda *_: bare)
    monkeypatch.setattr("tests.hub.site.tree_entries", lambda *_, **__: [])
    hub = hub_factory([Repo("org/name", {"a.txt": b"{}"})])
    for arguments in ([], [], ["--verify"]):
        done = qtool(hub, *arguments)
        assert done.returncode == 0, done.stderr
        assert "1 of them not verified" in done.stdout
        assert "and right" not in done.stdout
    (file,) = json.loads(qtool(hub, "--json").stdout)["files"]
    assert file["verified"] is False


def test_plain_lines_tell_progress_elsewhere_than_on_a_terminal(qtool, hub_factory, repo):
    done = qtool(hub_factory([repo], rate_bytes_per_s=MIB // 2), "-x", "8")
    assert re.search(r"\d+ %: .* of 25\.2 MB, 1 of 2 files, .*/s, .* left", done.stderr)
    assert "\x1b" not in done.stderr and "\r" not in done.stderr


def test_terminal_shows_bars(hub_factory, repo, tmp_path):
    hub = hub_factory([repo], rate_bytes_per_s=MIB)
    child = pexpect.spawn(
        sys.executable,
        ["-m", "qtool", "download", "org/name"],
        cwd=tmp_path,
        env={**os.environ, "HF_ENDPOINT": hub.url, "TERM": "xterm-256color"},
        encoding="utf-8",
        dimensions=(24, 80),
    )
    child.expect("model-Q4_K_M.gguf", timeout=20)
    child.expect(r"MB/s.*left", timeout=20)
    child.expect("next: qtool chat", timeout=30)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_mirrors_of_the_settings_are_used_when_no_endpoint_is_named(
    run_qtool, hub_factory, repo, tmp_path, monkeypatch
):
    hubs = [hub_factory([repo], rate_bytes_per_s=2 * MIB) for _ in range(2)]
    monkeypatch.setenv("QTOOL_MIRRORS", ",".join(hub.url for hub in hubs))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    done = run_qtool("download", "org/name", "--json", cwd=tmp_path)
    result = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert set(result["endpoints"]) == {hub.url for hub in hubs}
    assert sum(result["endpoints"].values()) == result["bytes_transferred"]
    assert result["dropped_endpoints"] == {}
    remembered = Path(os.environ["QTOOL_STATE"]) / "mirrors.json"
    assert any(hub.url in remembered.read_text() for hub in hubs)  # whichever was the faster
    assert not any(request.has_authorization for hub in hubs for request in hub.requests)


def test_endpoint_that_sends_wrong_bytes_is_warned_of(qtool, hub_factory, repo, tmp_path):
    bad, good = (hub_factory([repo], rate_bytes_per_s=4 * MIB) for _ in range(2))
    bad.add_fault(Fault(FaultKind.MISPLACED, path="*.gguf", times=None, role="cdn"))
    done = qtool(bad, "--endpoint", f"{bad.url},{good.url}")
    assert done.returncode == 0, done.stderr
    assert f"warning: {bad.url} is not used any more: it sent wrong bytes" in done.stderr
    model = repo.file("model-Q4_K_M.gguf")
    assert sha256_of(tmp_path / "name/model-Q4_K_M.gguf") == model.blob.sha256


def test_no_hub_within_reach_is_said_within_seconds_with_every_reason(
    run_qtool, tmp_path, monkeypatch
):
    monkeypatch.setenv("QTOOL_MIRRORS", "http://127.0.0.1:9,http://127.0.0.1:10")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    begun_s = time.monotonic()
    done = run_qtool("download", "org/name", cwd=tmp_path)
    assert done.returncode == 5
    assert time.monotonic() - begun_s < 5
    for url in ("http://127.0.0.1:9", "http://127.0.0.1:10"):
        assert f"{url}: does not answer" in done.stderr
    assert "HF_ENDPOINT=https://hf-mirror.com" in done.stderr


def test_quiet_prints_the_path_alone(qtool, hub_factory, repo):
    done = qtool(hub_factory([repo]), "--quiet")
    assert (done.stdout, done.stderr) == ("name\n", "")


def test_quantization_where_there_is_no_gguf_is_answered_with_where_to_look(
    run_qtool, hub_factory, tmp_path, monkeypatch
):
    monkeypatch.setenv("HF_ENDPOINT", hub_factory([Repo("org/name", {"a.json": b"{}"})]).url)
    done = run_qtool("download", "org/name:Q8_0", cwd=tmp_path)
    assert done.returncode == 3
    assert "org/name holds no GGUF, so there is no Q8_0" in done.stderr
    assert "hint: qtool find org/name --format gguf" in done.stderr


@pytest.mark.parametrize("option", [["--local-dir", "here"], ["-x", "4"], ["--limit-rate", "1M"]])
def test_starter_takes_no_choice_of_files_place_or_way(run_qtool, option):
    done = run_qtool("download", "starter", *option)
    assert done.returncode == 2
    assert "one file" in done.stderr


def test_starter_can_be_looked_at_without_being_fetched(run_qtool, tmp_path, monkeypatch):
    monkeypatch.setenv("QTOOL_CACHE", str(tmp_path))
    planned = json.loads(run_qtool("download", "starter", "--dry-run", "--json").stdout)
    assert [file["status"] for file in planned["files"]] == ["planned"]
    assert list(tmp_path.iterdir()) == []
    path = Path(planned["path"], planned["files"][0]["path"])
    path.parent.mkdir(parents=True)
    path.write_bytes(b"GGUF")
    done = run_qtool("download", "starter", "--verify")
    assert (done.returncode, "the content is wrong" in done.stderr) == (6, True)
    assert path.read_bytes() == b"GGUF"


def test_dataset_asked_for_as_a_model_is_called_one(run_qtool, hub_factory, monkeypatch):
    hub = hub_factory([Repo("org/data", {"a.json": b"{}"}, repo_type="dataset")])
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    done = run_qtool("download", "org/data")
    assert done.returncode == 3
    assert done.stderr.endswith("hint: qtool download org/data --dataset\n")
