"""Conversations on a real terminal (PTY), with a loopback server that plays the engine."""

import os
import re
import sys
from pathlib import Path

import pyte
import pytest

from qtool.chat.journal import last_journal, read_journal
from tests.cli.chat.conftest import Start, said
from tests.cli.openai_server import OpenAiServer
from tests.cli.terminal import Terminal


@pytest.mark.parametrize("columns", [40, 120])
def test_chinese_and_emoji_stand_where_they_belong(start: Start, own_settings: Path, columns: int):
    terminal = start(columns=columns)
    text = "你好，世界！" * 5 + "🙂🙂 end"
    terminal.type(text)
    terminal.wait("end")
    terminal.type("\x7f\x7f\x7f\x7f\x7f")  # " end" and an emoji are rubbed out
    terminal.submit("好")
    assert said(own_settings)[0] == "你好，世界！" * 5 + "🙂好"
    shown = "".join(line.removeprefix(">>> ") for line in terminal.text.split("\n"))
    assert shown.replace(" ", "").count("你好，世界！" * 5 + "🙂好") == 2, terminal.text


def test_model_is_named_before_the_first_prompt(start: Start):
    lines = start("--model", "tiny").text.split("\n")
    assert lines[0] == "this is tiny"
    assert "/help" in lines[1]


def test_lines_of_a_reply_end_between_words(start: Start, server: OpenAiServer):
    words = [f"word{n}," for n in range(40)]
    server.reply = lambda messages: (piece for word in words for piece in (word[:3], word[3:], " "))
    terminal = start(columns=50)
    terminal.submit("hello")
    lines = terminal.text.split(">>> hello\n")[1].split("\n\n")[0].split("\n")
    assert [word for line in lines for word in line.split()] == words
    assert all(40 < len(line.rstrip()) <= 50 for line in lines[:-1])


def test_pasted_block_is_one_message(start: Start, own_settings: Path):
    terminal = start()
    terminal.paste("def f():\r\n    return 1\r\n/undo\r\n")
    terminal.draw()
    terminal.submit("what is it?")
    assert said(own_settings)[0] == "def f():\n    return 1\n/undo\nwhat is it?"


@pytest.mark.parametrize("keys", ["\x1b\r", "\n"], ids=["alt+enter", "ctrl+j"])
def test_key_begins_another_line(start: Start, own_settings: Path, keys: str):
    terminal = start()
    terminal.type(f"one{keys}two")
    terminal.wait("... two")
    terminal.submit("")
    assert said(own_settings)[0] == "one\ntwo"


def test_history_goes_on_in_the_next_conversation(start: Start, own_settings: Path):
    terminal = start()
    terminal.submit("first thing")
    terminal.type("\x04")
    assert terminal.end() == 0
    second = start()
    second.type("\x1b[A")
    second.wait(">>> first thing")
    second.submit("!")
    assert said(own_settings)[0] == "first thing!"
    assert (own_settings / "state" / "prompts").stat().st_mode & 0o077 == 0


def test_what_is_typed_during_a_reply_is_the_next_prompt(
    start: Start, server: OpenAiServer, own_settings: Path
):
    server.pace_s = 0.05
    server.reply = lambda messages: iter([f"w{n} " for n in range(20)])
    terminal = start()
    terminal.type("go\r")
    terminal.wait("w3 ")
    terminal.type("typed ahead\r")
    terminal.wait(lambda: terminal.text.count("w19") == 2)
    terminal.wait_for_prompt()
    assert " ".join(f"w{n}" for n in range(20)) in terminal.text, "the reply was written into"
    assert said(own_settings)[2] == "typed ahead"


def test_reply_goes_on_after_ctrl_z_and_nothing_is_written_into_it(
    start: Start, server: OpenAiServer, own_settings: Path
):
    server.pace_s = 0.03
    server.reply = lambda messages: iter([f"w{n} " for n in range(40)])
    command = f"{sys.executable} -m qtool chat --endpoint {server.url}"
    with Terminal(program=("bash", "--norc", "-i"), PS1="shell$ ") as terminal:
        terminal.wait("shell$")
        terminal.type(f"{command}\r")
        terminal.wait_for_prompt()
        terminal.type("go\r")
        terminal.wait("w5 ")
        terminal.type("\x1a")
        terminal.wait(lambda: terminal.text.endswith("shell$"))
        n_before = len(terminal.text)
        terminal.type("fg\r")
        terminal.wait(lambda: re.search(r"w\d+ ", terminal.text[n_before:]))
        terminal.type("typed ahead\r")
        terminal.wait(lambda: terminal.text.count("w39") == 2)
        terminal.wait_for_prompt()
        assert said(own_settings)[1:3] == ["".join(f"w{n} " for n in range(40)), "typed ahead"]
        assert terminal.text.count("typed ahead") == 1
        terminal.type("/exit\r")
        terminal.wait(lambda: terminal.text.endswith("shell$"))
        terminal.type("echo done\r")
        terminal.wait("\ndone")


def test_ctrl_c_keeps_what_was_said_and_closes_the_connection(
    start: Start, server: OpenAiServer, own_settings: Path
):
    server.pace_s = 0.05
    server.reply = lambda messages: (f"w{n} " for n in range(1000))
    terminal = start()
    terminal.type("go\r")
    terminal.wait("w5 ")
    terminal.type("\x03")
    terminal.wait("[stopped]")
    terminal.wait_for_prompt()
    assert server.is_cut_off.wait(5)
    journal = last_journal(own_settings / "state" / "conversations")
    last = read_journal(journal)[-1]
    assert last.is_partial
    assert last.content.startswith("w0 w1 w2")


def test_ctrl_c_at_the_prompt_says_how_to_leave_and_drops_a_line(start: Start):
    terminal = start()
    terminal.type("half a thought")
    terminal.wait("half a thought")
    terminal.type("\x03")
    terminal.wait_for_prompt()
    assert "ends the conversation]" not in terminal.text
    terminal.type("\x03")
    terminal.wait("ends the conversation]")
    terminal.wait_for_prompt()
    terminal.type("\x04")
    assert terminal.end() == 0


def test_window_that_changes_its_size_keeps_the_line(start: Start, own_settings: Path):
    terminal = start(columns=100)
    terminal.type("a rather long line that needs more than forty columns to be shown")
    terminal.wait("to be shown")
    terminal.resize(40)
    terminal.draw()
    terminal.submit(" again")
    assert said(own_settings)[0].endswith("to be shown again")


@pytest.mark.parametrize("columns", [40, 120])
def test_replies_in_chinese_and_emoji_are_shown_whole(
    start: Start, server: OpenAiServer, columns: int
):
    text = "月亮🌕和星星⭐，还有 café、한국어 und Größe。" * 6
    server.reply = lambda messages: iter(text[i : i + 2] for i in range(0, len(text), 2))
    terminal = start(columns=columns)
    terminal.submit("诗")
    shown = "".join(terminal.text.partition(">>> 诗\n")[2].removesuffix("\n\n>>>").split("\n"))
    assert shown.replace(" ", "") == text.replace(" ", ""), terminal.text


@pytest.mark.parametrize("columns", [40, 120])
def test_block_of_code_pasted_with_long_and_wide_lines_is_sent_as_it_was(
    start: Start, own_settings: Path, columns: int
):
    code = "def 问候(name):\n\treturn f'你好，{name}！🙂' + '" + "x" * 130 + "'\n\n\n# 完"
    terminal = start(columns=columns)
    terminal.paste(code.replace("\n", "\r"))
    terminal.wait("完")
    assert "^I" not in terminal.text
    terminal.submit("")
    assert said(own_settings)[0] == code


def test_window_that_changes_its_size_in_mid_reply_costs_no_word(
    start: Start, server: OpenAiServer, own_settings: Path
):
    words = [f"w{n} " for n in range(60)]
    server.pace_s = 0.02
    server.reply = lambda messages: iter(words)
    terminal = start(columns=100)
    terminal.type("go\r")
    for n, columns in ((10, 50), (25, 90), (40, 41)):
        terminal.wait(lambda n=n: f"w{n} " in terminal.printed.decode())
        terminal.resize(columns)
    terminal.wait_for_prompt()
    assert said(own_settings)[1] == "".join(words)
    terminal.submit("/stats")
    assert "60 tokens in" in terminal.text


def test_dumb_terminal_is_served_without_a_line_editor(start: Start, own_settings: Path):
    terminal = start(TERM="dumb")
    terminal.type("你好\n")
    terminal.wait("You said: 你好")
    terminal.type("/undo\n")
    terminal.wait("withdrawn")
    terminal.type("\x04")
    assert terminal.end() == 0
    assert b"\x1b" not in terminal.printed
    assert said(own_settings) == []


def test_terminal_is_left_as_it_was(server: OpenAiServer):
    command = (
        f"stty -a; {sys.executable} -m qtool chat --endpoint {server.url}; stty -a; echo finished"
    )
    with Terminal(program=("sh", "-c", command), columns=120) as terminal:
        terminal.wait_for_prompt()
        terminal.submit("hi")
        terminal.type("/exit\r")
        terminal.wait("\nfinished")
        before, after = re.findall("speed .*?tostop[^/]*?flusho", terminal.text, re.DOTALL)
        assert before == after


def test_prompt_costs_little_however_busy_the_machine_is(server: OpenAiServer):
    def cost_s() -> float:
        with Terminal("chat", "--endpoint", server.url) as terminal:
            terminal.wait(">>>")
            fields = Path(f"/proc/{terminal.child.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    assert min(cost_s() for _ in range(4)) < 0.35


REPLY = """# Plan

Some **bold words** and `code`.

- first
- second

```python
x = "*"
```

| a | b |
|---|---|
| 1 | 2 |

The end."""


def style_of(terminal: Terminal, text: str) -> pyte.screens.Char:
    """Return how the first character of ``text`` is drawn."""
    row, line = next((n, line) for n, line in enumerate(terminal.screen.display) if text in line)
    return terminal.screen.buffer[row][line.index(text)]


@pytest.mark.parametrize("columns", [40, 120])
def test_markdown_is_styled_as_it_comes_and_never_drawn_twice(
    start: Start, server: OpenAiServer, columns: int
):
    server.reply = lambda messages: iter(REPLY[i : i + 3] for i in range(0, len(REPLY), 3))
    server.pace_s = 0.005
    terminal = start(columns=columns, rows=50)
    terminal.submit("go")
    for text in ("Plan", "bold words", "code", "• first", "• second", 'x = "*"', "The end."):
        assert terminal.text.count(text) == 1, terminal.text
    assert "**" not in terminal.text
    assert style_of(terminal, "bold words").bold
    assert not style_of(terminal, " and").bold
    assert style_of(terminal, "Plan").underscore
    reply = terminal.printed.partition(b"Plan")[2].partition(b"The end.")[0]
    assert not re.search(rb"\x1b\[[0-9;?]*[A-HJKf]|\r(?!\n)", reply), "the cursor was moved"


@pytest.mark.parametrize("options", [{"NO_COLOR": "1"}, {}], ids=["NO_COLOR", "--plain"])
def test_markdown_stays_as_it_is_on_request(start: Start, server: OpenAiServer, options: dict):
    server.reply = lambda messages: iter([REPLY])
    terminal = start(*([] if options else ["--plain"]), rows=50, **options)
    terminal.submit("go")
    assert "Some **bold words** and `code`." in terminal.text
    assert "|---|---|" in terminal.text


@pytest.mark.parametrize("is_tagged", [False, True], ids=["told apart", "<think>"])
def test_reasoning_is_folded_shown_and_hidden(start: Start, server: OpenAiServer, is_tagged: bool):
    tagged = ["<think>\n", "deep thought\n", "</think>", "\n\nforty-two"]
    server.reply = lambda messages: iter(tagged if is_tagged else [("deep thought",), "forty-two"])
    terminal = start()
    terminal.submit("a")
    assert "deep thought" not in terminal.text
    assert "thinking" not in terminal.text
    assert "[thought for 0.0 s; /think shows it]\nforty-two" in terminal.text
    terminal.submit("/think")
    assert terminal.text.count("deep thought") == 1
    terminal.submit("/think show")
    terminal.submit("b")
    assert "deep thought\nforty-two" in terminal.text
    terminal.submit("/think hide")
    terminal.submit("c")
    assert terminal.text.endswith(">>> c\nforty-two\n\n>>>")
    assert [m["content"] for m in server.bodies[2]["messages"]] == [
        *("a", "forty-two", "b", "forty-two", "c"),
    ]


def test_figures_follow_each_reply_with_v(start: Start):
    terminal = start("-v")
    terminal.submit("a")
    assert re.search(r"\[2 tokens in \d\.\d s, first after \d\.\d\d s\]", terminal.text)


def test_control_sequences_of_a_model_do_not_reach_the_terminal(start: Start, server: OpenAiServer):
    server.reply = lambda messages: iter(["a\x1b]0;owned\x07b\x1b", "[2Jc", "\x1b[31mred"])
    terminal = start()
    terminal.submit("go")
    assert "a]0;ownedb[2Jc[31mred" in terminal.text
    assert b"\x1b]0;" not in terminal.printed


def test_full_context_is_announced_and_the_user_is_asked(start: Start, server: OpenAiServer):
    server.n_ctx_tokens = 1000
    server.reply = lambda messages: iter(["ok"])
    terminal = start()
    terminal.submit("about cats " + "x" * 400)
    assert "%" not in terminal.text
    terminal.submit("y" * 440)
    assert re.search(r"\[the context is 8\d% full \(8\d\d of 1000 tokens\)\]", terminal.text)
    terminal.type("and now?\r")
    terminal.wait("what shall be done: drop-oldest (Enter), stop, summarise?")
    terminal.wait_for_prompt()
    terminal.submit("d")
    assert "the oldest 2 messages were dropped: “about cats" in terminal.text
    assert [m["content"][:1] for m in server.bodies[-1]["messages"]] == ["y", "o", "a"]
    terminal.submit("/info")
    assert "of 1000 tokens)" in terminal.text
