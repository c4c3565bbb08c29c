"""``qtool download --verify`` and ``--repair`` as the user and as programs see them."""

import json
import shlex
from pathlib import Path

import pytest

from tests.hub import Generated, Repo

MIB = 1024 * 1024
SIZE = 4 * MIB + 3


@pytest.fixture
def hub(hub_factory):
    return hub_factory([Repo("org/name", {"m.gguf": Generated(SIZE), "config.json": b"{}"})])


@pytest.fixture
def qtool(run_qtool, hub, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    return lambda *arguments: run_qtool("download", *arguments, cwd=tmp_path)


@pytest.fixture
def model(qtool, tmp_path):
    """Download, and return the model's file."""
    assert qtool("org/name").returncode == 0
    return tmp_path / "name/m.gguf"


def flip(path, position):
    with path.open("r+b") as stream:
        stream.seek(position)
        byte = stream.read(1)
        stream.seek(position)
        stream.write(bytes([byte[0] ^ 1]))


def test_check_names_each_wrong_file_and_the_command_that_cures_it(qtool, model, tmp_path):
    flip(model, 2 * MIB)
    (model.parent / "config.json").unlink()
    (model.parent / "notes.txt").write_text("mine")
    done = qtool("org/name", "--verify")
    assert done.returncode == 6
    assert "corrupt   m.gguf: wrong content (bytes 2097152-3145727)" in done.stdout
    assert "missing   config.json: not there" in done.stdout
    assert "not of this commit, left alone: notes.txt" in done.stdout
    command = done.stderr.partition("hint: ")[2].strip()
    assert command == "qtool download org/name --repair"
    done = qtool(*shlex.split(command)[2:])
    assert done.returncode == 0, done.stderr
    assert "repaired   m.gguf: it was corrupt" in done.stdout
    assert qtool("org/name", "--verify").returncode == 0


def test_command_that_cures_asks_the_same_hub(qtool, hub, model, monkeypatch):
    monkeypatch.delenv("HF_ENDPOINT")
    flip(model, 1)
    done = qtool("org/name", "--verify", "--endpoint", hub.url)
    command = done.stderr.partition("hint: ")[2].strip()
    assert command == f"qtool download org/name --endpoint {hub.url} --repair"


def test_check_as_json(qtool, model):
    flip(model, 2 * MIB)
    (model.parent / "config.json").unlink()
    done = qtool("org/name", "--verify", "--json")
    assert done.returncode == 6
    result = json.loads(done.stdout)
    files = {file["path"]: file for file in result["files"]}
    assert files["m.gguf"]["status"] == "corrupt"
    assert files["m.gguf"]["bad_ranges"] == [[2 * MIB, 3 * MIB]]
    assert files["config.json"]["status"] == "missing"
    assert files["config.json"]["size_found_bytes"] is None
    assert result["error"]["code"] == "integrity"
    assert result["extra_files"] == []
    assert result["bytes_transferred"] == 0


def test_repair_as_json_says_what_was_fetched(qtool, model):
    flip(model, 2 * MIB)
    result = json.loads(qtool("org/name", "--repair", "--json").stdout)
    assert {file["path"]: file["status"] for file in result["files"]} == {
        "config.json": "verified",
        "m.gguf": "repaired",
    }
    assert result["bytes_transferred"] == MIB


def test_check_without_the_hub_uses_the_record(qtool, hub, model, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.reset()
    done = qtool("org/name", "--verify")
    assert done.returncode == 0, done.stderr
    assert "offline: compared with what qtool recorded" in done.stdout
    flip(model, 1)
    assert qtool("org/name", "--verify").returncode == 6
    assert hub.requests == []


@pytest.mark.parametrize(
    ("options", "way_out"),
    [
        (["--repair"], "download org/name --repair"),
        ([], "download org/name"),
        (["--dry-run"], "download org/name"),
    ],
)
def test_what_has_to_ask_the_hub_is_refused_offline(
    qtool, hub, model, monkeypatch, options, way_out
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.reset()
    done = qtool("org/name", *options)
    assert done.returncode == 2
    assert f"HF_HUB_OFFLINE=0 qtool {way_out}\n" in done.stderr
    assert hub.requests == []


def test_dry_run_of_a_repair_only_looks(qtool, model):
    flip(model, 1)
    before = model.read_bytes()
    assert qtool("org/name", "--repair", "--dry-run").returncode == 6
    assert model.read_bytes() == before


def test_force_and_check_contradict_one_another(qtool, model):
    assert qtool("org/name", "--verify", "--force").returncode == 2


def test_hint_repeats_what_was_asked(qtool, hub, tmp_path):
    words = ["org/name", "m.gguf", "--local-dir", "a folder"]
    assert qtool(*words).returncode == 0
    flip(tmp_path / "a folder/m.gguf", 5)
    done = qtool(*words, "--verify")
    command = shlex.split(done.stderr.partition("hint: ")[2])
    assert command == ["qtool", "download", *words, "--repair"]
    assert qtool(*command[2:]).returncode == 0


def test_quiet_check_lists_what_is_wrong(qtool, model):
    flip(model, 1)
    done = qtool("org/name", "--verify", "--quiet")
    assert done.returncode == 6
    assert "m.gguf" in done.stdout


def test_changed_text_is_called_that_and_its_cure_keeps_it(qtool, model):
    config = model.parent / "config.json"
    config.write_text('{"mine": 1}')
    done = qtool("org/name", "--verify")
    assert done.returncode == 6
    assert "changed   config.json: not as the hub has it; edited here?" in done.stdout
    command = shlex.split(done.stderr.partition("hint: ")[2], comments=True)
    done = qtool(*command[2:])
    assert (done.returncode, json.loads(config.read_text())) == (0, {})
    assert config.with_name("config.json.edited").read_text() == '{"mine": 1}'


def test_check_of_nothing_says_so_once_with_the_command_that_fetches(qtool):
    done = qtool("org/name", "--verify", "--local-dir", "nowhere")
    assert done.returncode == 6
    assert done.stdout == "nowhere: nothing of it is there\n"
    assert done.stderr.endswith("hint: qtool download org/name --local-dir nowhere\n")
