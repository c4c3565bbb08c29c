"""One setting is written to config.toml; all else in it stays as it was."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtool.cli.config_file import with_setting, write_setting
from qtool.config import Config
from qtool.errors import UsageError

FULL = """\
# mine
[chat]
temperature = 0.5 # warm
system = "a # b"

[download] # from here
connections = 4   # enough
endpoint = [
    "https://a",  # first
    "https://b",
]
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "[download]\nconnections = 8\n"),
        ("# a\n[chat]\nctx = 1", "# a\n[chat]\nctx = 1\n\n[download]\nconnections = 8\n"),
        ("[download]\n", "[download]\nconnections = 8\n"),
        ("[ download ]\nconnections=1", "[ download ]\nconnections = 8\n"),
        (FULL, FULL.replace("connections = 4   #", "connections = 8   #")),
    ],
)
def test_one_line_changes(before: str, after: str):
    assert with_setting(before, "download.connections", "8") == after


def test_list_over_several_lines_is_replaced():
    after = with_setting(FULL, "download.endpoint", '["https://c"]')
    assert after == FULL[: FULL.index("endpoint")] + 'endpoint = ["https://c"]\n'


def test_mark_in_a_text_is_no_comment():
    after = with_setting(FULL, "chat.system", '"c"')
    assert after == FULL.replace('system = "a # b"', 'system = "c"')


@pytest.mark.parametrize(
    "before", ["download.connections = 1\n", "download = {connections = 1}\n", "[download\n"]
)
def test_form_that_is_not_known_is_left_alone(before: str):
    with pytest.raises(ValueError, match=r".") as caught:
        with_setting(before, "download.connections", "8")
    assert str(caught.value)


@given(st.text(min_size=1))
def test_any_text_comes_back_or_is_refused(tmp_path_factory: pytest.TempPathFactory, text: str):
    path = tmp_path_factory.getbasetemp() / "any" / "config.toml"
    try:
        write_setting(path, "chat.system", text)
    except (UsageError, UnicodeEncodeError):
        return
    assert Config({}, path).get("chat.system") == text


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("download.endpoint", "https://a, https://b", ("https://a", "https://b")),
        ("download.connections", "16", 16),
        ("chat.temperature", "0.7", 0.7),
        ("chat.keep_alive", "10m", 600.0),
        ("chat.keep_alive", "90", 90.0),
        ("ui.lang", "zh", "zh"),
    ],
)
def test_what_is_written_is_what_is_read(tmp_path: Path, name: str, text: str, value: object):
    path = tmp_path / "new folder" / "config.toml"
    assert write_setting(path, name, text) == value
    assert Config({}, path).get(name) == value


def test_mark_of_notepad_goes(tmp_path: Path):
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbf[chat]\r\nctx = 16\r\n")
    write_setting(path, "chat.ctx", "32")
    assert path.read_bytes() == b"[chat]\nctx = 32\n"


def test_link_stays_a_link(tmp_path: Path):
    (tmp_path / "dotfiles").write_text(FULL)
    (tmp_path / "dotfiles").chmod(0o600)
    path = tmp_path / "config.toml"
    path.symlink_to("dotfiles")
    write_setting(path, "chat.ctx", "4096")
    assert path.is_symlink() and Config({}, path).get("chat.ctx") == 4096
    assert (tmp_path / "dotfiles").stat().st_mode & 0o777 == 0o600
    assert sorted(one.name for one in tmp_path.iterdir()) == ["config.toml", "dotfiles"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("download.conections", "8", "did you mean download.connections?"),
        ("download.connections", "many", ", not 'many'"),
    ],
)
def test_wrong_name_or_value_changes_nothing(tmp_path: Path, name: str, text: str, said: str):
    path = tmp_path / "config.toml"
    with pytest.raises(UsageError, match=r".") as caught:
        write_setting(path, name, text)
    assert said in caught.value.message
    assert not path.exists()
