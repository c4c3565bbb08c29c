import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtool.chat.context import Relief
from qtool.chat.history import load_history, save_history
from qtool.chat.journal import last_journal, read_journal
from qtool.chat.messages import Message, Role, count_oldest_turn, with_system
from qtool.chat.session import Session
from qtool.errors import NotFoundError, ResourceError, UsageError

SYSTEM = Message(Role.SYSTEM, "Be brief.")


def said(*texts: str) -> list[Message]:
    """Return a conversation in which user and assistant speak in turn."""
    roles = (Role.USER, Role.ASSISTANT)
    return [Message(roles[i % 2], text) for i, text in enumerate(texts)]


def test_each_message_is_in_the_journal_when_add_returns(tmp_path: Path):
    session = Session(tmp_path, model="m")
    for message in said("a", "b", "c"):
        session.add(message)
        assert read_journal(last_journal(tmp_path)) == session.messages
    session.close()


def test_journal_holds_what_the_conversation_began_with(tmp_path: Path):
    session = Session(tmp_path, model="m", messages=[SYSTEM, *said("a", "b")])
    session.add(Message(Role.USER, "c"))
    session.close()
    assert read_journal(last_journal(tmp_path)) == session.messages


def test_nothing_said_leaves_no_journal(tmp_path: Path):
    Session(tmp_path, model="m", messages=[SYSTEM]).close()
    assert list(tmp_path.iterdir()) == []


def test_journal_is_for_its_owner_only(tmp_path: Path):
    session = Session(tmp_path / "state", model="m")
    session.add(Message(Role.USER, "secret"))
    session.close()
    assert last_journal(tmp_path / "state").stat().st_mode & 0o077 == 0


def test_torn_last_line_costs_only_itself(tmp_path: Path):
    session = Session(tmp_path, model="m")
    for message in said("a", "b"):
        session.add(message)
    session.close()
    path = last_journal(tmp_path)
    path.write_bytes(path.read_bytes()[:-9])
    assert read_journal(path) == said("a")


def test_oldest_turn_leaves_the_window_and_stays_in_the_conversation(tmp_path: Path):
    session = Session(tmp_path, model="m", messages=[SYSTEM, *said("a", "b", "c", "d", "e")])
    session.relieve(Relief(count_oldest_turn(session.window)))
    assert session.window == [SYSTEM, *said("c", "d", "e")]
    assert session.messages == [SYSTEM, *said("a", "b", "c", "d", "e")]
    assert read_journal(last_journal(tmp_path)) == session.messages
    session.close()


def test_the_last_turn_is_never_the_oldest():
    assert count_oldest_turn([SYSTEM, *said("a")]) == 0
    assert count_oldest_turn([SYSTEM, *said("a", "b")]) == 0
    assert count_oldest_turn([SYSTEM]) == count_oldest_turn([]) == 0


def test_beginning_without_a_question_is_dropped_with_the_first_turn_after_it():
    greeting = Message(Role.ASSISTANT, "Hello!")
    assert count_oldest_turn([SYSTEM, greeting, *said("a")]) == 1


def test_withdrawn_message_is_gone_from_the_conversation(tmp_path: Path):
    session = Session(tmp_path, model="m")
    session.add(Message(Role.USER, "a"))
    assert session.take_back() == [Message(Role.USER, "a")]
    assert session.messages == read_journal(last_journal(tmp_path)) == []
    session.close()


def test_conversation_begun_anew_has_a_journal_of_its_own(tmp_path: Path):
    session = Session(tmp_path, model="m", messages=[SYSTEM])
    session.add(Message(Role.USER, "a"))
    first = last_journal(tmp_path)
    session.begin_anew([SYSTEM])
    assert session.messages == read_journal(last_journal(tmp_path)) == [SYSTEM]
    assert read_journal(first) == [SYSTEM, *said("a")]
    session.close()


def test_journal_of_an_earlier_version_is_read(tmp_path: Path):
    path = tmp_path / "old.jsonl"
    path.write_text(
        '{"qtool_journal": 1, "model": "m", "time": 1}\n'
        '{"role": "user", "content": "a", "time": 1}\n'
        '{"role": "assistant", "content": "b", "partial": true, "time": 1}\n'
        '{"role": "user", "content": "c", "time": 1}\n'
        '{"taken_back": 1, "time": 1}\n'
    )
    user, reply = said("a", "b")
    assert read_journal(path) == [user, Message(reply.role, "b", is_partial=True)]


@pytest.mark.parametrize(
    "line",
    [
        '{"taken_back": -1}',
        '{"taken_back": 1e999}',
        '{"taken_back": "x"}',
        '{"replaces": 2}',
        "7",
        '"dropped"',
        '["dropped"]',
        '["system"]',
        "[" * 100_000,
    ],
)
def test_damaged_step_changes_nothing(tmp_path: Path, line: str):
    path = tmp_path / "j.jsonl"
    path.write_text('{"qtool_journal": 1}\n{"role": "user", "content": "a"}\n' + line + "\n")
    assert read_journal(path) == said("a")


def test_continuing_without_an_earlier_conversation_is_an_error(tmp_path: Path):
    with pytest.raises(NotFoundError):
        last_journal(tmp_path)


def test_message_that_did_not_reach_the_disk_whole_leaves_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    session = Session(tmp_path, model="m")
    session.add(Message(Role.USER, "a"))
    write = os.write

    def fills_up(descriptor: int, data: memoryview) -> int:
        if len(data) < 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[: len(data) - 10])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fills_up)
        with pytest.raises(ResourceError, match="No space left"):
            session.add(Message(Role.ASSISTANT, "lost"))
    session.add(Message(Role.ASSISTANT, "b"))
    session.close()
    assert session.messages == read_journal(last_journal(tmp_path)) == said("a", "b")


def test_file_that_somebody_else_wrote_meanwhile_is_kept(tmp_path: Path):
    path = tmp_path / "talk.json"
    save_history(path, said("a", "b"))
    session = Session(tmp_path / "j", model="m", messages=said("a", "b"), output=path)
    session.add(Message(Role.USER, "ours"))
    save_history(path, said("theirs"))
    assert session.save() == tmp_path / "talk.1.json"
    session.close()
    assert load_history(path) == said("theirs")
    assert load_history(tmp_path / "talk.1.json")[-1].content == "ours"


def test_journal_in_an_unwritable_place_is_an_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="journal"):
        Session(tmp_path / "file", model="m").add(Message(Role.USER, "a"))


def test_system_prompt_heads_or_replaces():
    assert with_system(said("a"), "Be brief.") == [SYSTEM, *said("a")]
    assert with_system([Message(Role.SYSTEM, "old"), *said("a")], "Be brief.") == [
        SYSTEM,
        *said("a"),
    ]
    assert with_system(said("a"), None) == said("a")


def test_fallback_system_prompt_gives_way_to_any_other():
    assert with_system(said("a"), None, fallback="Be brief.") == [SYSTEM, *said("a")]
    assert with_system([SYSTEM, *said("a")], None, fallback="x") == [SYSTEM, *said("a")]
    assert with_system(said("a"), "Be brief.", fallback="x") == [SYSTEM, *said("a")]


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Let no file grow beyond what ``path`` has now, as on a disk that is full."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


def test_what_has_been_said_stays_on_a_full_disk_and_is_written_with_the_next(tmp_path: Path):
    question, reply = said("a", "b")
    session = Session(tmp_path, model="m")
    session.add(question)
    path = last_journal(tmp_path)
    with full_disk(path):
        with pytest.raises(UsageError, match="journal"):
            session.add(reply)
        assert session.messages == [question]
        with pytest.raises(UsageError, match="journal"):
            session.settle(reply)
        assert session.messages == [question, reply]
        with pytest.raises(UsageError, match="journal"):
            session.give_up(1)
        assert session.messages == read_journal(path) == [question]
    session.add(reply)
    assert session.messages == read_journal(path) == [question, reply]
    session.close()


def test_long_beginning_is_written_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    synced: list[int] = []
    sync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: synced.append(descriptor) or sync(descriptor)
    )
    beginning = said(*map(str, range(500)))
    session = Session(tmp_path, model="m", messages=beginning)
    session.add(Message(Role.USER, "on"))
    assert len(synced) == 3, "the head, what was there, and what is new"
    assert read_journal(last_journal(tmp_path)) == session.messages
    session.close()


def test_what_is_owed_to_the_disk_is_written_at_the_end(tmp_path: Path):
    question, reply = said("a", "b")
    session = Session(tmp_path, model="m")
    session.add(question)
    with full_disk(last_journal(tmp_path)), pytest.raises(UsageError):
        session.settle(reply)
    session.close()
    assert read_journal(last_journal(tmp_path)) == [question, reply]


def test_reply_that_nothing_was_said_before_is_given_again_when_the_turns_after_it_go(
    tmp_path: Path,
):
    greeting = Message(Role.ASSISTANT, "Welcome!")
    session = Session(tmp_path, model="m", messages=[SYSTEM, greeting, *said("a", "b")])
    session.relieve(Relief(1))
    assert session.window == [SYSTEM, *said("a", "b")]
    session.take_back(2)
    assert session.window == session.messages == [SYSTEM, greeting]
    session.close()


@given(
    st.lists(
        st.one_of(
            st.text().map(lambda text: ("add", text)),
            st.integers(1, 4).map(lambda count: ("back", count)),
            st.tuples(st.just("replace"), st.text(), st.integers(1, 3)),
            st.one_of(st.none(), st.text()).map(lambda text: ("system", text)),
            st.just(("drop",)),
        )
    )
)
def test_journal_read_back_is_the_conversation_after_any_steps(
    tmp_path_factory: pytest.TempPathFactory, steps
):
    folder = tmp_path_factory.mktemp("journal")
    session = Session(folder, model="m", messages=[SYSTEM])
    session.add(Message(Role.USER, "first"))
    for step in steps:
        match step:
            case ("add", text):
                is_user = not session.messages or session.messages[-1].role is not Role.USER
                session.add(Message(Role.USER if is_user else Role.ASSISTANT, text))
            case ("back", count) if len(session.messages) > count:
                session.take_back(count)
            case ("replace", text, count) if len(session.messages) > count:
                thought = Message(Role.ASSISTANT, text, is_partial=bool(count % 2), reasoning=text)
                session.add(thought, n_replaced=count)
            case ("system", text):
                session.set_system(text)
            case ("drop",):
                session.relieve(Relief(count_oldest_turn(session.window)))
        assert session.window[-1:] == session.messages[-1:]
    session.close()
    assert read_journal(last_journal(folder)) == session.messages
