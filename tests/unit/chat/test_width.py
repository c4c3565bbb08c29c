import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtool.chat.commands import COMMANDS, describe_commands
from qtool.chat.sessions import describe_earlier, list_earlier
from qtool.chat.width import shorten, width_of, wrap
from tests.unit.chat.test_sessions import hold


@pytest.mark.parametrize(
    ("text", "columns"),
    [("abc", 3), ("你好", 4), ("🙂", 2), ("e\u0301", 1), ("👩\u200d👩\u200d👧", 2), ("", 0)],
)
def test_width_is_that_of_a_terminal(text: str, columns: int):
    assert width_of(text) == columns


@given(st.text(), st.integers(4, 100))
def test_shortened_text_fits(text: str, columns: int):
    short = shorten(text, columns)
    assert width_of(short) <= columns
    assert short == " ".join(text.split()) or short.endswith(" …")


@given(st.text(st.sampled_from("ab 你，（🙂\n")), st.integers(4, 30), st.sampled_from(["", "  "]))
def test_wrapped_text_has_everything_in_lines_that_fit(text: str, columns: int, indent: str):
    lines = wrap(text, columns, indent=indent)
    assert "".join("".join(lines).split()) == "".join(text.split())
    for line in lines:
        assert line.startswith(indent)
        assert width_of(line) <= columns or " " not in line.strip()


@given(st.text(st.sampled_from("ab 🙂\n")), st.integers(4, 30))
def test_words_stay_whole(text: str, columns: int):
    assert " ".join(wrap(text, columns)).split() == text.split()


def test_chinese_breaks_between_characters_but_not_before_its_punctuation():
    assert wrap("按 /help 列出命令，Ctrl+C 停止。", 12) == [
        "按 /help 列",
        "出命令，",
        "Ctrl+C 停",
        "止。",
    ]
    assert wrap("你好，世界", 4) == ["你", "好，", "世界"]
    assert wrap("[已停止]", 7) == ["[已停", "止]"]


@pytest.mark.parametrize("columns", [30, 40, 63, 64, 80, 120])
def test_help_fits_the_terminal(columns: int):
    lines = describe_commands(columns).splitlines()
    assert max(map(width_of, lines)) <= columns
    for spec in COMMANDS:
        assert any(line.startswith(spec.usage) for line in lines)


@pytest.mark.parametrize("columns", [40, 80])
def test_earlier_conversations_fit_the_terminal(tmp_path, columns: int):
    hold(tmp_path, "写一首关于大海的诗，要有月亮和星星，还要有一点点忧伤" * 3)
    lines = describe_earlier(list_earlier(tmp_path), columns).splitlines()
    assert max(map(width_of, lines)) <= columns
    assert "写一首" in lines[0]
