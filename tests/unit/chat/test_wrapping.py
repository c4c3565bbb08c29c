import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtool.chat.markdown import MarkdownStream
from qtool.chat.width import width_of
from qtool.chat.wrapping import MAX_HELD_COLUMNS, ReplyWrap

PROSE = "Whiskers was a curious and adventurous cat who lived in a small cottage by the sea."
CHINESE = "你好，世界！我是一个在本机上运行的模型，可以回答（简单的）问题。"


def wrapped(text: str, columns: int, *, size: int = 3) -> str:
    wrap = ReplyWrap(lambda: columns)
    steps = re.findall("\x1b\\[[0-9;]*m|.", text, re.DOTALL)
    pieces = ["".join(steps[at : at + size]) for at in range(0, len(steps), size)]
    return "".join(map(wrap.push, pieces)) + wrap.flush()


def test_lines_end_between_words():
    assert wrapped(PROSE, 30).split("\n") == [
        "Whiskers was a curious and",
        "adventurous cat who lived in a",
        "small cottage by the sea.",
    ]


def test_chinese_lines_end_between_characters_but_not_before_their_marks():
    lines = wrapped(CHINESE, 22).split("\n")
    assert "".join(lines) == CHINESE
    assert all(width_of(line) <= 22 for line in lines)
    assert all(width_of(line) >= 18 for line in lines[:-1])
    assert not any(line[0] in "，。！）" or line[-1] == "（" for line in lines)


def test_word_far_from_the_edge_is_shown_at_once_and_one_near_it_when_it_is_whole():
    wrap = ReplyWrap(lambda: 40)
    assert wrap.push("Whis") == "Whis"
    assert wrap.push("kers was a cat, an") == "kers was a cat,"
    assert wrap.push("d ") == " and"
    assert wrap.push("adventurous") == ""
    assert wrap.push("lyness") == "\nadventurouslyness", "it cannot fit any more"
    assert wrap.flush() == ""


def test_lines_of_a_list_stand_below_its_text():
    lines = wrapped("- " + PROSE + "\n10. " + PROSE, 40).split("\n")
    assert [line[:2] for line in lines] == ["- ", "  ", "  ", "10", "  ", "  "]
    assert all(line.startswith("    ") and line[4] != " " for line in lines[4:])


def test_code_is_left_to_the_terminal():
    code = "````py\n" + "long_name(" * 12 + "\n```\n" + "a b " * 30 + "\n````\n"
    assert wrapped(code, 40) == code
    assert wrapped(code + PROSE, 40) == code + wrapped(PROSE, 40)


def test_styles_take_no_columns():
    shown = wrapped(f"\x1b[1m{PROSE}\x1b[22m", 30, size=1)
    assert re.sub("\x1b\\[[0-9;]*m", "", shown) == wrapped(PROSE, 30)
    rendered = MarkdownStream().push(PROSE.replace("curious", "**curious**") + "\n")
    assert re.sub("\x1b\\[[0-9;]*m", "", wrapped(rendered, 30)) == wrapped(PROSE, 30) + "\n"


def test_width_is_the_one_when_the_line_begins():
    widths = iter([30, 60])
    wrap = ReplyWrap(lambda: next(widths))
    first, second = (wrap.push(f"{PROSE}\n").rstrip("\n") for _ in range(2))
    assert max(map(len, first.split("\n"))) == 30
    assert 50 < max(map(len, second.split("\n"))) <= 60


@pytest.mark.parametrize("end", ["", "\n", " \n", "  "])
def test_line_that_is_just_full_is_not_followed_by_an_empty_one(end: str):
    text = "four " * 5 + "wordy"
    assert wrapped(text + end, 30) == text + ("\n" if "\n" in end else "")
    assert wrapped(f"{text} more{end}", 30) == f"{text}\nmore{end}"


WORDS = [f"{word} " for word in PROSE.split()]
TEXTS = st.lists(
    st.sampled_from([*WORDS, *CHINESE, " ", "  ", "\n", "\t", "👩‍👩‍👧", "\x1b[1m", "é", "- "])
).map("".join)


@settings(deadline=None, max_examples=200)
@given(TEXTS, st.integers(1, 60), st.integers(1, 9))
def test_nothing_is_lost_or_too_wide_however_it_is_cut(text: str, columns: int, size: int):
    shown = wrapped(text, columns, size=size)
    assert shown == wrapped(text, columns, size=1)
    assert "".join(shown.split()) == "".join(text.split())
    if "\t" not in text and columns >= MAX_HELD_COLUMNS:
        plain = re.sub("\x1b\\[[0-9;]*m", "", shown)
        assert all(width_of(line.rstrip()) <= columns for line in plain.split("\n"))
