import os
from pathlib import Path

from qtool.chat.journal import last_journal, read_journal
from qtool.chat.messages import Message, Role
from qtool.chat.session import Session
from qtool.chat.sessions import describe_earlier, last_conversation, list_earlier


def hold(
    folder: Path, *said: str, before: list[Message] | None = None, is_once: bool = False
) -> list[Message]:
    session = Session(folder, model="m.gguf", messages=before or [], is_once=is_once)
    for text in said:
        session.add(Message(Role.USER, text))
        session.add(Message(Role.ASSISTANT, f"re: {text}"))
    session.close()
    return session.messages


def test_conversations_are_listed_newest_first_and_found_by_words(tmp_path: Path):
    hold(tmp_path, "cats and dogs")
    hold(tmp_path, "the weather", "in Oslo")
    assert [one.title for one in list_earlier(tmp_path)] == ["the weather", "cats and dogs"]
    assert [one.title for one in list_earlier(tmp_path, "oslo WEATHER")] == ["the weather"]
    assert list_earlier(tmp_path, "oslo cats") == []
    assert list_earlier(tmp_path / "none") == []
    lines = describe_earlier(list_earlier(tmp_path), 78).splitlines()
    assert lines[0].startswith("  1  20")
    assert lines[0].endswith("  2 turns  the weather")


def test_conversation_that_another_continues_is_left_out(tmp_path: Path):
    first = hold(tmp_path, "one")
    hold(tmp_path, "two", before=first)
    hold(tmp_path, "one")
    assert [len(one.messages) for one in list_earlier(tmp_path)] == [2, 4]


def test_empty_and_damaged_journals_are_left_out(tmp_path: Path):
    hold(tmp_path)
    (tmp_path / "x.jsonl").write_bytes(b"\xff\xfe\n{\n")
    session = Session(tmp_path, model="m")
    session.begin_anew([])
    session.close()
    assert list_earlier(tmp_path) == []


def test_entry_that_is_no_journal_costs_itself(tmp_path: Path):
    said = hold(tmp_path, "one")
    (tmp_path / "x.jsonl").mkdir()
    (tmp_path / "y.jsonl").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "z.jsonl")
    assert [list(one.messages) for one in list_earlier(tmp_path)] == [said]
    assert read_journal(last_journal(tmp_path)) == said


def test_single_question_is_found_by_its_words_and_told_from_conversations(tmp_path: Path):
    hold(tmp_path, "the weather")
    hold(tmp_path, "weather in Oslo", is_once=True)
    assert [one.title for one in list_earlier(tmp_path)] == ["the weather"]
    found = list_earlier(tmp_path, "weather")
    assert [one.title for one in found] == ["weather in Oslo", "the weather"]
    wide, narrow = (describe_earlier(found, columns).splitlines() for columns in (78, 40))
    assert [line.split()[3] for line in wide] == ["-p", "1"]
    assert wide[0].index("weather") == wide[1].index("the")
    assert narrow[1].endswith(" -p")


def test_conversation_is_gone_on_with_before_a_single_or_empty_one(tmp_path: Path):
    hold(tmp_path, "once", is_once=True)
    assert next(m.content for m in read_journal(last_conversation(tmp_path))) == "once"
    talk = hold(tmp_path, "talk")
    hold(tmp_path, "once more", is_once=True)
    emptied = Session(tmp_path, model="m")
    emptied.begin_anew([Message(Role.SYSTEM, "S")])
    emptied.close()
    assert read_journal(last_conversation(tmp_path)) == talk
