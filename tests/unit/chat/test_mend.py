import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtool.chat.mend import MENDS, find_mends, merge_neighbours, move_system
from qtool.chat.messages import Message, Role
from qtool.chat.templates import CHATML, GEMMA, PLAIN, fallback_template, read_template, stops_of
from qtool.errors import NotFoundError, UsageError

SYSTEM, USER, REPLY = (
    Message(Role.SYSTEM, "S"),
    Message(Role.USER, "u"),
    Message(Role.ASSISTANT, "a"),
)


def test_neighbours_are_joined():
    assert merge_neighbours([USER, USER, REPLY, USER]) == [
        *(Message(Role.USER, "u\n\nu"), REPLY, USER)
    ]


def test_system_prompt_goes_before_the_first_message():
    assert move_system([SYSTEM, USER, REPLY]) == [Message(Role.USER, "S\n\nu"), REPLY]
    assert move_system([USER]) == [USER]


def test_only_what_changes_something_is_tried():
    assert find_mends([USER, REPLY, USER]) == []
    assert find_mends([USER, USER]) == [MENDS[0], MENDS[2]]
    assert find_mends([SYSTEM, USER]) == [MENDS[1], MENDS[2]]


@given(st.lists(st.sampled_from([SYSTEM, USER, REPLY]), max_size=8).map(lambda m: [*m, USER]))
def test_last_mend_gives_strict_turns_and_loses_nothing_the_user_said(messages):
    messages = [m for i, m in enumerate(messages) if m is not SYSTEM or not i]
    mended = MENDS[-1].apply(messages)
    assert [m.role for m in mended] == [
        (Role.USER, Role.ASSISTANT)[i % 2] for i in range(len(mended))
    ]
    said = "".join(m.content for m in mended)
    assert said.count("u") == sum(m is USER for m in messages)
    assert ("S" in said) == (SYSTEM in messages)


@pytest.mark.parametrize(
    ("architecture", "template"),
    [
        ("gemma3", GEMMA),
        ("Gemma2ForCausalLM", GEMMA),
        ("qwen2", CHATML),
        ("llama", PLAIN),
        (None, PLAIN),
    ],
)
def test_family_has_a_template(architecture, template):
    assert fallback_template(architecture) is template


def test_stops_belong_to_our_templates_alone():
    assert stops_of(PLAIN.text) == ("\nUser:",)
    assert stops_of("{{ x }}") == stops_of(None) == ()


def test_template_file_is_read_or_refused(tmp_path: Path):
    path = tmp_path / "t.jinja"
    path.write_text("{{ messages }}")
    assert read_template(path) == "{{ messages }}"
    with pytest.raises(NotFoundError):
        read_template(tmp_path / "none")
    for content in (b"", b" \n", b"\xff", b"a\0b", b"x" * (2**20 + 1)):
        path.write_bytes(content)
        with pytest.raises(UsageError):
            read_template(path)


def test_template_may_come_through_a_pipe(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_text, args=("{{ messages }}",))
    writer.start()
    assert read_template(tmp_path / "pipe") == "{{ messages }}"
    writer.join()
