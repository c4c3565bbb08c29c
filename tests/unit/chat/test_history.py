import json
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtool.chat.history import check_writable, load_history, save_history
from qtool.chat.messages import Message, Role
from qtool.errors import IntegrityError, NotFoundError, QtoolError, ResourceError, UsageError

MESSAGES = [
    Message(Role.SYSTEM, "Be brief."),
    Message(Role.USER, "你好 👋"),
    Message(Role.ASSISTANT, "Hello.\n"),
]


def test_saved_messages_are_loaded_again(tmp_path: Path):
    save_history(tmp_path / "h.json", MESSAGES)
    assert load_history(tmp_path / "h.json") == MESSAGES


def test_file_is_the_tutorials_json_list(tmp_path: Path):
    save_history(tmp_path / "h.json", MESSAGES)
    assert json.loads((tmp_path / "h.json").read_text(encoding="utf-8"))[1] == {
        "role": "user",
        "content": "你好 👋",
    }


def test_file_with_byte_order_mark_and_extra_keys_is_loaded(tmp_path: Path):
    path = tmp_path / "h.json"
    path.write_bytes(b'\xef\xbb\xbf[{"role": "user", "content": "hi", "name": "ada"}]')
    assert load_history(path) == [Message(Role.USER, "hi", others={"name": "ada"})]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[{"role": "user",\n "content": }]', "line 2, column 13"),
        ("{", "line 1, column 2"),
        ('{"role": "user"}', "no list"),
        ('[{"role": "user", "content": "a"}, 7]', "line 1, column 36: message 2"),
        ('[{"role": "robot", "content": "a"}]', "line 1, column 2: message 1: .*'robot'"),
        ('[\n {"role": "user", "content": "a"},\n\n  {}\n]', "line 4, column 3: message 2"),
        ('\n {"a": 1}', "line 2, column 2: it holds an object"),
        ('[{"role": "user", "content": null}]', "None"),
        ('[{"role": ["user"], "content": "x"}]', "message 1"),
        ("[" * 100_000, "nested"),
        ("[" + "9" * 5000 + "]", "digits"),
    ],
)
def test_damaged_file_is_named_and_left_alone(tmp_path: Path, text: str, words: str):
    path = tmp_path / "h.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(IntegrityError, match=words) as caught:
        load_history(path)
    assert str(path) in caught.value.message
    assert path.read_text(encoding="utf-8") == text


def test_missing_file_is_an_error_unless_it_may_be_missing(tmp_path: Path):
    with pytest.raises(NotFoundError):
        load_history(tmp_path / "none.json")
    assert load_history(tmp_path / "none.json", may_be_missing=True) == []


def test_failed_save_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "h.json"
    save_history(path, MESSAGES)
    old = path.read_bytes()

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(ResourceError, match="No space left"):
        save_history(path, MESSAGES[:1])
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


def test_save_through_a_link_keeps_the_link_and_the_mode(tmp_path: Path):
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    real.write_text("[]")
    real.chmod(0o640)
    link.symlink_to(real)
    save_history(link, MESSAGES)
    assert link.is_symlink()
    assert load_history(real) == MESSAGES
    assert real.stat().st_mode & 0o777 == 0o640


def test_target_that_cannot_be_written_is_found_before_the_conversation(tmp_path: Path):
    with pytest.raises(UsageError, match="no folder"):
        check_writable(tmp_path / "none" / "h.json")
    with pytest.raises(UsageError, match="no regular file"):
        check_writable(tmp_path)
    (tmp_path / "dangling").symlink_to(tmp_path / "none" / "h.json")
    with pytest.raises(UsageError, match="no folder"):
        check_writable(tmp_path / "dangling")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(UsageError):
        check_writable(tmp_path / "circle")


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_no_regular_file_is_neither_read_nor_replaced(tmp_path: Path, kind: str):
    path = Path("/dev/null") if kind == "device" else tmp_path / "pipe"
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(UsageError, match="no regular file"):
        check_writable(path)
    with pytest.raises(UsageError, match="no regular file"):
        load_history(path)
    assert not path.is_file()


def test_half_characters_are_replaced_and_the_file_stays_readable(tmp_path: Path):
    path = tmp_path / "h.json"
    path.write_text('[{"role": "user", "content": "\\ud83d\\udc4b \\ud83d"}]')
    messages = load_history(path)
    assert messages == [Message(Role.USER, "👋 \ufffd")]
    save_history(path, messages)
    assert load_history(path) == messages


def test_damaged_byte_is_named_with_its_place(tmp_path: Path):
    path = tmp_path / "h.json"
    path.write_bytes('[\n {"role": "user", "content": "你'.encode() + b'\xff"}]')
    with pytest.raises(IntegrityError, match="line 2, column 32: byte 35 is not UTF-8"):
        load_history(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["role", "content", "name", ""]), inner, max_size=4)
    ),
)
SOUND = json.dumps([message.to_api() for message in MESSAGES], indent=1).encode()


@given(
    JSON.map(lambda value: json.dumps(value, indent=2).encode())
    | st.builds(
        lambda at, damage: SOUND[:at] + damage + SOUND[at:],
        st.integers(0, len(SOUND)),
        st.binary(min_size=1, max_size=3),
    )
    | st.integers(0, len(SOUND)).map(lambda at: SOUND[:at])
)
def test_damage_is_named_with_line_and_column(tmp_path_factory: pytest.TempPathFactory, data):
    path = tmp_path_factory.getbasetemp() / "damaged.json"
    path.write_bytes(data)
    try:
        messages = load_history(path)
    except IntegrityError as exc:
        place = re.search(r"damaged: line (\d+), column (\d+): ", exc.message)
        assert place, exc.message
        assert 1 <= int(place[1]) <= data.count(b"\n") + 1
        assert 1 <= int(place[2]) <= len(data) + 1
    else:
        assert all(isinstance(message, Message) for message in messages)
    assert path.read_bytes() == data


@given(st.binary(max_size=300))
def test_any_bytes_give_messages_or_a_clear_error(tmp_path_factory: pytest.TempPathFactory, data):
    path = tmp_path_factory.mktemp("fuzz") / "h.json"
    path.write_bytes(data)
    try:
        assert isinstance(load_history(path), list)
    except QtoolError as exc:
        assert str(path) in exc.message
    assert path.read_bytes() == data


@pytest.mark.parametrize("content", ["", " \n", "\ufeff"])
def test_empty_file_is_a_conversation_not_begun(tmp_path: Path, content: str):
    (tmp_path / "h.json").write_text(content)
    assert load_history(tmp_path / "h.json") == []
