import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtool.chat.reasoning import AllWasReasoning, split_reasoning
from qtool.chat.stream import Delta, ReplyEnd

END = ReplyEnd("stop")


def split(*pieces: str) -> tuple[str, str]:
    """Return reasoning and reply."""
    reasoning, reply = "", ""
    for piece in split_reasoning([*map(Delta, pieces), END]):
        if isinstance(piece, AllWasReasoning):
            reasoning, reply = reasoning + reply, ""
        elif isinstance(piece, Delta) and piece.is_reasoning:
            reasoning += piece.text
        elif isinstance(piece, Delta):
            reply += piece.text
    return reasoning, reply


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", ("", "plain")),
        ("\n<think>\nhm\n</think>\n\nyes", ("hm\n", "yes")),
        ("<think></think>yes", ("", "yes")),
        ("<think>never ends", ("never ends", "")),
        ("hm, opened already\n</think>\n\nyes", ("hm, opened already\n", "yes")),
        ("hm\n</think>", ("hm\n", "")),
        ("the tag `</think>` ends it", ("", "the tag `</think>` ends it")),
        ("say <think> first", ("", "say <think> first")),
        ("<thin", ("", "<thin")),
        ("a\n</thin", ("", "a\n</thin")),
        ("<think>a</think>b\n</think>\nc", ("a", "b\n</think>\nc")),
    ],
)
def test_reasoning_is_told_apart_however_it_is_cut(text: str, expected: tuple[str, str]):
    assert split(text) == split(*text) == expected


def test_what_the_server_tells_apart_is_left_alone():
    pieces = [Delta("hm", is_reasoning=True), Delta("<think>x\n</think>\n"), END]
    assert list(split_reasoning(pieces)) == pieces


@given(st.lists(st.sampled_from(["<think>", "</think>", "</", "think>", "\n", "a", " "])))
def test_nothing_but_tags_and_blanks_is_lost(parts: list[str]):
    text = "".join(parts)
    assert split(text) == split(*text)
    assert "".join(split(text)).count("a") == text.count("a")
