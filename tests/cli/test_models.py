"""``qtool models`` as a process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from tests.cli.download import PROJECT_ROOT
from tests.hub import Generated, Repo

SIZE = 3_000_000


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Let everything that qtool and huggingface_hub keep lie in a folder of the test."""
    for name in ("QTOOL_CACHE", "QTOOL_STATE", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("PYTHONPATH", str(PROJECT_ROOT))
    return tmp_path


@pytest.fixture
def models(run_qtool, place):
    return lambda *arguments, **options: run_qtool("models", *arguments, **options)


@pytest.fixture
def downloaded(qtool, hub_factory, place):
    """Return the folder of a download, its name, and a cache with another program's repository."""
    hub = hub_factory([Repo("org/name", {"m.gguf": Generated(SIZE), "config.json": b"{}"})])
    assert qtool(hub, "--local-dir", "models/here").returncode == 0
    assert qtool(hub, "--cache", "config.json").returncode == 0
    other = place / "HF_HUB_CACHE/models--other--one/blobs"
    other.mkdir(parents=True)
    (other / "b").write_bytes(b"12345")
    return place / "models/here"


def test_list_names_what_is_here_wherever_one_is(downloaded, models):
    done = models("--json")
    document = json.loads(done.stdout)
    rows = [(one["name"], one["place"], one["size_bytes"]) for one in document["models"]]
    assert rows == [
        ("org/name", "folder", SIZE + 2),
        ("other/one", "cache", 5),
        ("org/name", "cache", 2),
    ]
    assert [one["removable"] for one in document["models"]] == [True, False, True]
    assert document["size_bytes"] == SIZE + 2 + 2 + 5
    text = models().stdout
    assert text == models("list").stdout
    assert "3 MB" in text and "Hugging Face cache (by another program)" in text
    assert models("list", "--quiet").stdout.splitlines()[0] == str(downloaded)


def test_nothing_here_says_how_to_have_something(models, tmp_path):
    assert "qtool download" in models(cwd=tmp_path).stdout


def test_removal_needs_consent_and_the_right_one_of_two(downloaded, models):
    done = models("remove", "org/name", "-y")
    assert done.returncode == 2
    assert "2 times" in done.stderr and f"qtool models remove {downloaded}" in done.stderr
    done = models("remove", str(downloaded))
    assert done.returncode == 2
    assert f"qtool models remove {downloaded} -y" in done.stderr
    assert (downloaded / "m.gguf").exists()
    done = models("remove", str(downloaded), "--yes", "--json")
    assert json.loads(done.stdout)["freed_bytes"] == SIZE + 2
    assert not downloaded.exists()
    assert models("remove", "ORG/Name", "-y").returncode == 0
    assert "org/name" not in models().stdout


def test_terminal_is_asked_which_one_of_two(downloaded, place):
    child = pexpect.spawn(
        "python", ["-m", "qtool", "models", "remove", "org/name"],
        cwd=place, env={**os.environ, "TERM": "xterm"}, encoding="utf-8", timeout=30,
    )  # fmt: skip
    child.expect_exact("Which one? [1-2")
    assert "  1      3 MB" in child.before and "  2       2 B" in child.before
    child.sendline("2")
    child.expect_exact("Remove? [y/N]")
    child.sendline("y")
    child.expect(pexpect.EOF)
    assert (downloaded / "m.gguf").exists()
    assert not (place / "HF_HUB_CACHE/models--org--name").exists()


def test_starter_goes_by_the_name_that_chat_knows(models, place):
    from qtool.models.starters import load_starters, starter_path

    path = starter_path(load_starters()[0], place / "QTOOL_CACHE")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"GGUF")
    assert "starter model: qtool chat starter" in models().stdout
    done = models("remove", "startr", "-y")
    assert (done.returncode, "hint: qtool models" in done.stderr) == (3, True)
    assert models("remove", "Starter", "-y").returncode == 0
    assert not path.exists()


def test_slip_in_a_name_is_answered_with_the_name(downloaded, models):
    done = models("remove", "org/nam", "-y")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        3,
        "hint: qtool models remove org/name",
    )


def test_what_keeps_the_folder_is_named(downloaded, models, qtool, hub_factory):
    (downloaded / "mynote.txt").write_text("note")
    (downloaded / "config.json").write_text('{"mine": 1}')
    (downloaded / "config.json.edited").write_text('{"mine": 0}')
    done = models("remove", str(downloaded), "-y")
    assert "not fetched by it: config.json\n" in done.stdout
    assert "left alone, no part of it: config.json.edited, mynote.txt\n" in done.stdout
    assert sorted(path.name for path in downloaded.iterdir()) == [
        *("config.json", "config.json.edited", "mynote.txt"),
    ]


def test_what_is_not_qtools_is_refused_with_the_command_for_it(downloaded, models, place):
    done = models("remove", "other/one", "-y")
    assert done.returncode == 2
    assert "hf cache rm model/other/one" in done.stderr
    assert (place / "HF_HUB_CACHE/models--other--one/blobs/b").exists()
    assert models("remove", "nobody/nothing", "-y").returncode == 3


@pytest.mark.parametrize(("answer", "stays"), [("n", True), ("", True), ("y", False)])
def test_terminal_is_asked_and_no_is_the_default(downloaded, place, answer, stays):
    child = pexpect.spawn(
        "python", ["-m", "qtool", "models", "remove", "models/here"],
        cwd=place, env={**os.environ, "TERM": "xterm"}, encoding="utf-8", timeout=30,
    )  # fmt: skip
    child.expect_exact("Remove? [y/N]")
    assert "3 MB" in child.before and "./models/here" in child.before
    child.sendline(answer)
    child.expect(pexpect.EOF)
    child.close()
    assert ((downloaded / "m.gguf").exists(), child.exitstatus) == (stays, 2 if stays else 0)


def test_starter_and_repacked_models_are_listed_and_go(models, place):
    from qtool.models.starters import load_starters, starter_path

    starter = load_starters()[0]
    files = {starter.name: starter_path(starter, place / "QTOOL_CACHE")}
    files["my-model"] = place / "QTOOL_CACHE/repacked/0123456789abcdef/my-model.gguf"
    for path in files.values():
        path.parent.mkdir(parents=True)
        path.write_bytes(b"GGUF")
    listed = models("list", "--quiet").stdout.split()
    assert sorted(map(Path, listed)) == sorted(files.values())
    assert models("remove", *files, "-y").returncode == 0
    assert not any(path.parent.exists() for path in files.values())


def test_one_of_two_repacked_models_in_a_folder_goes_alone(models, place):
    folder = place / "QTOOL_CACHE/repacked/0123456789abcdef"
    folder.mkdir(parents=True)
    for name in ("one.gguf", "two.gguf", "source.json"):
        (folder / name).write_bytes(b"GGUF")
    (folder / "gone.gguf").symlink_to("/nonexistent")
    assert models("remove", "one", "-y").returncode == 0
    assert sorted(os.listdir(folder)) == ["gone.gguf", "source.json", "two.gguf"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root has folders of others")
def test_folders_that_one_may_not_enter_are_passed_over(downloaded, models, place):
    for folder in (place / "private", place / "HF_HUB_CACHE/models--o--secret"):
        folder.mkdir(mode=0o700)
        os.chown(folder, 65534, 65534)
    code = "import sys; from qtool.cli import main; sys.exit(main(['models']))"
    as_others = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", sys.executable]
    done = subprocess.run(
        [*as_others, "-c", code], cwd=place, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "./models/here" in done.stdout) == (0, True), done.stderr


def test_what_was_there_before_is_refused_by_its_name_and_path(qtool, hub_factory, models, place):
    hub = hub_factory([Repo("org/name", {"a.txt": b"1"})])
    (place / "mine").mkdir()
    (place / "mine/a.txt").write_text("1")
    assert qtool(hub, "--local-dir", "mine").returncode == 0
    assert "not fetched by qtool" in models().stdout
    for name in ("org/name", "mine"):
        done = models("remove", name, "-y", cwd=place)
        assert done.returncode == 2
        assert "was there before" in done.stderr and str(place / "mine") in done.stderr
    assert (place / "mine/a.txt").exists()


def test_path_through_a_link_is_understood_and_means_all_that_is_there(
    qtool, hub_factory, models, place
):
    hub = hub_factory([Repo("org/name", {"a.txt": b"1"})])
    (place / "link").symlink_to("HF_HUB_CACHE")
    assert qtool(hub, "--cache").returncode == 0
    assert models("remove", "link/models--org--name", "-y", cwd=place).returncode == 0
    assert not (place / "HF_HUB_CACHE/models--org--name").exists()


def test_names_never_make_a_line_of_their_own(qtool, hub_factory, models, place):
    hub = hub_factory([Repo("org/name", {"a.txt": b"1"})])
    folder = place / "new\nline"
    assert qtool(hub, "--local-dir", folder).returncode == 0
    text = models(cwd=place).stdout
    assert "./new\\nline\n" in text, text


@pytest.mark.parametrize(
    ("word", "command"), [("list", "qtool models"), ("pull", "qtool download")]
)
def test_word_of_other_programs_is_answered_with_ours(run_qtool, word, command):
    done = run_qtool(word, "org/name")
    assert (done.returncode, f"hint: {command}" in done.stderr) == (2, True)
