from pathlib import Path

import pytest

from qtool.chat.history import save_history
from qtool.chat.messages import Message, Role
from qtool.chat.request import HistoryFiles, choose_history_files
from qtool.chat.setup import last_exchange, open_session
from qtool.errors import NotFoundError, UsageError

HELLO = [Message(Role.USER, "Hello"), Message(Role.ASSISTANT, "Hi!")]


def test_session_begins_with_the_history_file_and_the_system_prompt(tmp_path: Path):
    save_history(tmp_path / "h.json", HELLO)
    files = HistoryFiles(input=tmp_path / "h.json")
    with open_session("m", tmp_path, files=files, system="Be brief.") as session:
        assert session.messages == [Message(Role.SYSTEM, "Be brief."), *HELLO]


def test_session_goes_on_with_the_last_conversation(tmp_path: Path):
    with open_session("m", tmp_path, files=HistoryFiles()) as session:
        for message in HELLO:
            session.add(message)
    with open_session("m", tmp_path, files=HistoryFiles(), is_continued=True) as session:
        assert session.messages == HELLO


def ask(state: Path, text: str, **options: bool) -> list[str]:
    """Say ``text`` in a session of its own; return what it holds then."""
    with open_session("m", state, files=HistoryFiles(), system="S", **options) as session:
        session.add(Message(Role.USER, text))
        return [message.content for message in session.messages[1:]]


def test_question_goes_on_with_the_question_before_and_a_conversation_does_not(tmp_path: Path):
    ask(tmp_path, "talk")
    ask(tmp_path, "once", is_prompted=True)
    assert ask(tmp_path, "more", is_continued=True) == ["talk", "more"]
    ask(tmp_path, "again", is_prompted=True)
    assert ask(tmp_path, "and", is_prompted=True, is_continued=True) == ["again", "and"]
    assert ask(tmp_path, "then", is_continued=True) == ["again", "and", "then"], "it became one"


def test_going_on_without_a_conversation_is_an_error(tmp_path: Path):
    with pytest.raises(NotFoundError, match="no earlier conversation"):
        open_session("m", tmp_path, files=HistoryFiles(), is_continued=True)


def test_target_is_checked_before_anything_is_said(tmp_path: Path):
    with pytest.raises(UsageError, match="no folder"):
        open_session("m", tmp_path, files=HistoryFiles(output=tmp_path / "none" / "h.json"))


@pytest.mark.parametrize("there", [b"GGUF\3\0\0\0", b"{% for m in messages %}", b"{}", b"[1]"])
def test_target_that_is_no_history_file_is_left_alone(tmp_path: Path, there: bytes):
    path = tmp_path / "m.gguf"
    path.write_bytes(there)
    with pytest.raises(UsageError, match="no history file"):
        open_session("m", tmp_path, files=HistoryFiles(output=path))
    assert path.read_bytes() == there


@pytest.mark.parametrize("there", [b"", b"\n", b"[]", b'[{"role": "user", "content": "a"}]'])
def test_target_that_is_a_history_file_may_be_replaced(tmp_path: Path, there: bytes):
    (tmp_path / "h.json").write_bytes(there)
    open_session("m", tmp_path, files=HistoryFiles(output=tmp_path / "h.json")).close()


def test_one_file_for_both_excludes_the_others():
    assert choose_history_files(None, None, Path("h")) == HistoryFiles(Path("h"), Path("h"), True)
    assert choose_history_files(Path("a"), Path("b"), None) == HistoryFiles(Path("a"), Path("b"))
    with pytest.raises(UsageError, match="-io FILE stands for"):
        choose_history_files(Path("a"), None, Path("h"))


def test_last_exchange_is_two_short_lines():
    messages = [Message(Role.SYSTEM, "S"), *HELLO, Message(Role.USER, "a\n" * 50), *HELLO[1:]]
    first, second = last_exchange(messages, 80).splitlines()
    assert first.startswith("> a a a")
    assert len(first) <= 79
    assert second == "  Hi!"
    assert last_exchange([], 80) == ""
