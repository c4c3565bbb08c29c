import os
from pathlib import Path

import pytest

from qtool.config import Config, config_path
from qtool.errors import EnvironmentFault, UsageError


def config(tmp_path: Path, text: str = "", **environ: str) -> Config:
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    return Config(environ, path)


def test_flag_wins_over_environment_over_file_over_default(tmp_path: Path):
    text = "[download]\nconnections = 3\n"
    assert config(tmp_path).lookup("download.connections").origin == "default"
    from_file = config(tmp_path, text).lookup("download.connections")
    assert (from_file.value, from_file.origin) == (3, str(tmp_path / "config.toml"))
    both = config(tmp_path, text, QTOOL_CONNECTIONS="5")
    assert (both.get("download.connections"), both.get("download.connections", 7)) == (5, 7)
    assert both.lookup("download.connections").origin == "$QTOOL_CONNECTIONS"


def test_endpoint_may_be_a_comma_list_or_a_toml_list(tmp_path: Path):
    expected = ("https://a", "https://b")
    assert config(tmp_path, HF_ENDPOINT="https://a, https://b").get("download.endpoint") == expected
    text = '[download]\nendpoint = ["https://a", "https://b"]\n'
    assert config(tmp_path, text).get("download.endpoint") == expected


def test_empty_variable_counts_as_unset(tmp_path: Path):
    assert config(tmp_path, QTOOL_CONNECTIONS="").lookup("download.connections").origin == "default"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[download\n", "not valid TOML"),
        ("[download]\nconections = 3\n", "did you mean download.connections"),
        ("[download]\nconnections = 0\n", "from 1 to 64"),
        ("[download]\nconnections = true\n", "from 1 to 64"),
        ("[download]\nendpoint = [1]\n", "list of texts"),
        ("[chat]\ntemperature = 'hot'\n", "number"),
        ("loose = 1\n", "loose"),
    ],
)
def test_wrong_file_is_an_error_that_names_it(tmp_path: Path, text: str, words: str):
    with pytest.raises(UsageError, match=words) as caught:
        config(tmp_path, text).values()
    assert str(tmp_path / "config.toml") in caught.value.message


def test_missing_file_is_no_error(tmp_path: Path):
    assert Config({}, tmp_path / "none" / "config.toml").values()


def test_file_that_notepad_wrote_is_read(tmp_path: Path):
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbf[chat]\r\nctx = 4096\r\n")
    assert Config({}, path).get("chat.ctx") == 4096


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, kind: str):
    path = tmp_path / "config.toml"
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    with pytest.raises(UsageError, match="is not a file"):
        Config({}, path).get("chat.ctx")


def test_home_of_nobody_is_told_so():
    with pytest.raises(UsageError, match="~nobody-of-that-name"):
        Config({"QTOOL_CONFIG": "~nobody-of-that-name/x.toml"})


@pytest.mark.parametrize("text", ["0", "65", "1000000", "many", "4.5"])
def test_connections_have_the_bounds_of_the_option(tmp_path: Path, text: str):
    with pytest.raises(UsageError, match="a whole number from 1 to 64"):
        Config({"QTOOL_CONNECTIONS": text}, tmp_path / "none").get("download.connections")


def test_folders_can_be_moved_by_the_environment(tmp_path: Path):
    named = {name: str(tmp_path / name) for name in ("QTOOL_CACHE", "QTOOL_STATE", "QTOOL_DATA")}
    moved = config(tmp_path, **named)
    folders = [moved.cache_dir(), moved.state_dir(), moved.data_dir()]
    assert list(map(str, folders)) == list(named.values())


def test_user_without_a_home_is_told_so(monkeypatch):
    def find_nobody(number):
        raise KeyError(number)

    for name in ("HOME", "XDG_CONFIG_HOME", "QTOOL_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", find_nobody)
    with pytest.raises(EnvironmentFault, match="HOME"):
        config_path()
