import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtool.chat.markdown import MarkdownStream, draw_table, render_inline

BOLD, CODE, ITALIC = "\x1b[1m{}\x1b[22m", "\x1b[36m{}\x1b[39m", "\x1b[3m{}\x1b[23m"


def render(*pieces: str) -> str:
    stream = MarkdownStream(lambda text: f"<table>{text.count(chr(10)) + 1}</table>")
    return "".join([*(stream.push(piece) for piece in pieces), stream.flush()])


def bare(text: str) -> str:
    return re.sub("\x1b\\[[0-9;]*m", "", text)


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("plain text", "plain text"),
        ("a **b** c", f"a {BOLD.format('b')} c"),
        (
            "__b__ and *i* and _i_",
            f"{BOLD.format('b')} and {ITALIC.format('i')} and {ITALIC.format('i')}",
        ),
        ("`x*y*z`", CODE.format("x*y*z")),
        ("``a`b``", CODE.format("a`b")),
        ("**a `b` c**", BOLD.format(f"a {CODE.format('b')} c")),
        ("2 * 3 * 4 and snake_case_name", "2 * 3 * 4 and snake_case_name"),
        ("a ** b", "a ** b"),
        ("an *unclosed and\nnext", "an *unclosed and\nnext"),
        ("\\*not\\* and \\(x\\)", "*not* and \\(x\\)"),
        ("[qtool](https://x.org/a_b)", "qtool (https://x.org/a_b)"),
        ("[x] done", "[x] done"),
        ("## Title\ntext", "\x1b[1;4mTitle\x1b[22;24m\ntext"),
        ("#hashtag", "#hashtag"),
        ("- a\n  * b\n+ c", "• a\n  • b\n• c"),
        ("1. one\n2) two", "1. one\n2) two"),
        ("> said", "\x1b[2m│\x1b[22m said"),
        ("-5 degrees\n", "-5 degrees\n"),
        ("a_1 = b_2", "a_1 = b_2"),
        ("你好 **世界**！", f"你好 {BOLD.format('世界')}！"),
    ],
)
def test_reply_is_styled(source: str, shown: str):
    assert render(source) == shown


def test_rule_is_drawn():
    assert bare(render("a\n\n---\nb")).split("\n")[2].strip("─") == ""


def test_code_block_is_left_as_it_is():
    source = "see:\n```python\n# no *heading*\n- no bullet\n\n    **x**\n```\n**bold**"
    shown = render(source)
    assert bare(shown) == source.replace("**bold**", "bold")
    assert BOLD.format("bold") in shown
    assert BOLD.format("x") not in shown


def test_inner_fence_does_not_close_a_longer_one():
    source = "````\n```\n*a*\n```\n````\n*b*"
    assert bare(render(source)) == "````\n```\n*a*\n```\n````\nb"


def test_table_is_drawn_once_it_is_whole():
    source = "| a | b |\n|---|:-:|\n| 1 | 2 |\nafter"
    assert render(source) == "<table>3</table>\nafter"
    assert render("| no table |\nafter") == "| no table |\nafter"


def test_real_table_fits_the_width():
    text = draw_table("| name | what |\n|---|---|\n| 你好 | " + "word " * 30 + "|", 40)
    from rich.cells import cell_len

    lines = bare(text).split("\n")
    assert max(cell_len(line) for line in lines) <= 40
    assert "你好" in text


def test_text_is_shown_as_soon_as_it_is_clear():
    stream = MarkdownStream()
    assert stream.push("Hello ") == "Hello "
    assert stream.push("wor") == "wor"
    assert stream.push("ld **bo") == "ld "
    assert stream.push("ld**") == ""
    assert stream.push(" x") == BOLD.format("bold") + " x"
    stream.flush()
    assert stream.push("```\nfor i") == "\x1b[2m```\x1b[22m\n" + CODE.format("for i")


PIECES = st.sampled_from(
    [
        *("*", "**", "_", "`", "```", "\n", "\n\n", " ", "a", "b c", "# ", "- ", "1. ", "> "),
        *("| a | b |", "|---|---|", "~~", "[", "](x)", "\\", "---", "你", "🙂", "~~~", "* * *"),
    ]
)


@given(st.lists(PIECES, max_size=40), st.data())
def test_how_the_text_is_cut_changes_nothing_that_is_seen(parts: list[str], data):
    source = "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(source)), max_size=8)))
    pieces = [source[a:b] for a, b in zip([0, *cuts], [*cuts, len(source)], strict=True)]
    seams = re.compile(r"\x1b\[39m\x1b\[36m")  # code that streams is coloured piece by piece
    assert seams.sub("", render(*pieces)) == seams.sub("", render(source))


@given(st.lists(PIECES, max_size=40))
def test_no_word_is_lost(parts: list[str]):
    source = "".join(parts)
    words = re.compile("[abc你🙂]")
    shown = bare("".join([(s := MarkdownStream()).push(source), s.flush()]))
    assert words.findall(shown) == words.findall(source)


def test_long_line_of_openers_takes_linear_time():
    for source in ("*a" * 20000, "[" * 20000, "`" * 20001 + "a", "**a " * 10000, "|" * 20000):
        assert render(source)


def test_inline_alone_knows_no_lines():
    assert render_inline("# **a**") == f"# {BOLD.format('a')}"
