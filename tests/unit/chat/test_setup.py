from pathlib import Path

import pytest

from qtool.chat.history import save_history
from qtool.chat.journal import JournalHead, read_journal, read_last_head
from qtool.chat.messages import Message, Role
from qtool.chat.request import HistoryFiles, choose_history_files
from qtool.chat.setup import find_earlier, last_exchange, open_session, own_model, source_of
from qtool.errors import NotFoundError, UsageError
from qtool.models.local import LocalModel

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
    earlier = find_earlier(tmp_path, is_prompted=False)
    with open_session("m", tmp_path, files=HistoryFiles(), earlier=earlier) as session:
        assert session.messages == HELLO


def test_conversation_goes_on_with_the_model_that_it_ended_with(tmp_path: Path):
    here = tmp_path / "models" / "b.gguf"
    here.parent.mkdir()
    here.touch()
    with open_session("a", tmp_path, files=HistoryFiles(), source="starter") as session:
        session.add(HELLO[0])
        earlier = find_earlier(tmp_path, is_prompted=False)
        assert own_model(earlier) == "starter"
        session.set_model("b.gguf", str(here))
        session.add(HELLO[1])
    assert read_journal(earlier) == HELLO
    assert own_model(earlier) == str(here)
    here.unlink()
    with pytest.raises(NotFoundError, match=r"was with b\.gguf, which is no longer at") as caught:
        own_model(earlier)
    assert "qtool chat MODEL -c" in (caught.value.hint or "")


def test_model_chosen_before_anything_is_said_is_the_conversations(tmp_path: Path):
    with open_session("a", tmp_path, files=HistoryFiles(), source="starter") as session:
        session.set_model("served", None)
        session.add(HELLO[0])
    earlier = find_earlier(tmp_path, is_prompted=False)
    assert read_last_head(earlier) == JournalHead("served", source=None)
    assert own_model(earlier) is None


def test_path_of_a_model_is_kept_whole_and_a_name_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert source_of("org/m", LocalModel(Path("m"))) == str(tmp_path / "m")
    assert source_of("m:Q4_0", LocalModel(Path("m"), "Q4_0")) == f"{tmp_path}/m:Q4_0"
    cached = LocalModel(Path("/hub/models--org--m/snapshots/0a1b/m.gguf"))
    assert source_of("org/m:Q4_0", cached) == "org/m:Q4_0"
    assert source_of("starter", LocalModel(Path("/c/SmolLM2.gguf"))) == "starter"


def ask(
    state: Path, text: str, *, is_continued: bool = False, is_prompted: bool = False
) -> list[str]:
    """Say ``text`` in a session of its own; return what it holds then."""
    earlier = find_earlier(state, is_prompted=is_prompted) if is_continued else None
    options = {"system": "S", "earlier": earlier, "is_prompted": is_prompted}
    with open_session("m", state, files=HistoryFiles(), **options) as session:
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
        find_earlier(tmp_path, is_prompted=False)


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
