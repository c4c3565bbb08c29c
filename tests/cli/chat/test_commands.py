"""Every slash command on a real terminal (PTY)."""

import json
import re
from pathlib import Path

from qtool.chat.commands import COMMANDS
from qtool.chat.journal import last_journal, read_journal
from qtool.chat.messages import Role
from tests.cli.chat.conftest import Start, said
from tests.cli.openai_server import OpenAiServer


def shown_by(terminal, typed: str) -> str:
    """Submit ``typed`` and return what came between it and the next prompt."""
    terminal.submit(typed)
    return terminal.text.rpartition(f">>> {typed}\n")[2].removesuffix("\n>>>").strip("\n")


def test_every_command_does_what_it_says(start: Start, own_settings: Path, tmp_path: Path):
    note, talk = tmp_path / "note.txt", tmp_path / "talk.json"
    note.write_text("The code is 42.\n")
    terminal = start(columns=120, rows=50)
    shows = {
        "/help": "/sessions [WORDS]",
        "/stats": "error: there are no figures yet",
        "/system Be brief.": "the system prompt is set",
        "/system": "Be brief.",
        "one": "You said: one",
        "/retry": "You said: one",
        "/edit uno": "You said: uno",
        "two": "You said: two",
        "/undo": "1 turn withdrawn; the last message is now: uno",
        "/set temperature 0.5": "[temperature is 0.5]",
        "/set temperature 9": "error: temperature takes a number from 0 to 5, not 9",
        "/set top-k many": "error: top_k takes a number, not 'many'",
        "/stats ": "tokens in",
        "/stats on": "figures after each reply: on",
        "/stats off": "figures after each reply: off",
        "/think show": "reasoning: show",
        "/think": "(the last reply has no reasoning)",
        "/file /no/such/file": "error: /no/such/file is no file",
        f"/file {note}": "note.txt (1 line) goes with",
        "what is the code?": "The code is 42.",
        "/copy": "[copied",
        f"/save {talk}": "saved to",
        f"/save {talk} ": "is there already",
        "/info": "engine    endpoint at http://127.0.0.1",
        "/model": "tiny",
        "/template": "does not show its prompts",
        "/clear": "a new conversation",
        f"/load {talk}": "going on after 5 messages",
        "/continue": "You said: ",
        "/sessions uno": "turns  uno",
        "/sessions nobody said this": "there is no earlier conversation like that",
        "/load 2": "going on after 5 messages",
        "/undo 9": "2 turns withdrawn; nothing is left",
        "/system -": "the system prompt is gone",
        "/unod": "hint: /undo",
    }
    for typed, shown in shows.items():
        assert shown in shown_by(terminal, typed), f"{typed}:\n{terminal.text}"
    assert b"\x1b]52;c;" in terminal.printed
    terminal.type("/exit\r")
    assert terminal.end() == 0
    assert {spec.name for spec in COMMANDS} == {
        word[1:].split()[0] for word in (*shows, "/exit") if word[0] == "/" and "unod" not in word
    }
    assert [message["content"] for message in json.loads(talk.read_text())][1] == "uno"


def test_what_commands_changed_is_in_the_journal(start: Start, own_settings: Path):
    terminal = start("-s", "S")
    for typed in ("one", "/edit uno", "two", "/retry", "three", "/undo"):
        terminal.submit(typed)
    assert said(own_settings) == ["S", "uno", "You said: uno", "two", "You said: two"]
    kept = read_journal(last_journal(own_settings / "state" / "conversations"))
    assert kept[0].role is Role.SYSTEM


def test_last_message_is_edited_in_the_line(start: Start, own_settings: Path):
    terminal = start()
    terminal.submit("Helo")
    terminal.type("/edit\r")
    terminal.wait(lambda: terminal.text.endswith(">>> Helo"))
    terminal.submit("\x7flo!")
    assert said(own_settings) == ["Hello!", "You said: Hello!"]
    terminal.type("/edit\r")
    terminal.wait(lambda: terminal.text.endswith(">>> Hello!"))
    terminal.type("\x04\x15\r")  # deletes nothing at the end; empties the line
    terminal.wait("[the message was not changed]")
    assert said(own_settings) == ["Hello!", "You said: Hello!"]


def test_another_model_of_the_endpoint_goes_on(start: Start, server: OpenAiServer):
    server.models = ["tiny", "large"]
    terminal = start("--model", "tiny")
    terminal.submit("a")
    assert shown_by(terminal, "/model large") == "[going on with large]"
    terminal.submit("b")
    assert [body["model"] for body in server.bodies] == ["tiny", "large"]
    assert [m["content"] for m in server.bodies[1]["messages"]] == ["a", "You said: a", "b"]


def test_stopped_reply_is_measured_continued_and_asked_again(
    start: Start, server: OpenAiServer, own_settings: Path
):
    server.pace_s = 0.05
    server.reply = lambda messages: (f"w{n} " for n in range(1000))
    terminal = start()
    terminal.type("go\r")
    terminal.wait("w9 ")
    terminal.type("\x03")
    terminal.wait_for_prompt()
    assert re.fullmatch(
        r"\[about \d+ tokens in \d+\.\d s, first after \d+\.\d\d s, \d+\.\d tokens/s, stopped\]",
        shown_by(terminal, "/stats").replace("\n", ""),
    )
    server.reply = lambda messages: iter(["and the rest"])
    assert shown_by(terminal, "/continue") == "and the rest"
    asked = server.bodies[-1]["messages"]
    assert [m["role"] for m in asked] == ["user", "assistant"]
    assert asked[1]["content"].startswith("w0 w1")
    assert said(own_settings) == ["go", f"{asked[1]['content']}and the rest"]
    terminal.submit("/retry")
    assert said(own_settings) == ["go", "and the rest"]


def test_cut_off_reply_says_how_to_go_on(start: Start, server: OpenAiServer):
    server.finish_reason = "length"
    terminal = start("-m", "2", columns=100)
    terminal.submit("a")
    assert (
        "[cut off at 2 tokens; /continue goes on, /set max_new_tokens 4 allows more]"
        in terminal.text
    )


def test_commands_are_completed_by_tab(start: Start):
    terminal = start()
    terminal.type("/th\t")
    terminal.wait(lambda: terminal.text.endswith(">>> /think"))
    terminal.type(" f\t")
    terminal.wait(lambda: terminal.text.endswith(">>> /think fold"))
    terminal.submit("")
    assert "[reasoning: fold]" in terminal.text
    terminal.type("/s\t\t")
    terminal.wait(lambda: all(word in terminal.text for word in ("/system", "/stats", "/save")))
    terminal.type("\x03")


def test_help_is_readable_at_40_columns(start: Start):
    terminal = start(columns=40, rows=60)
    shown = shown_by(terminal, "/help")
    for spec in COMMANDS:
        for word in f"{spec.usage} {spec.help}".split():
            assert re.search(rf"(^|\s){re.escape(word)}(\s|$)", shown), f"{word} is cut:\n{shown}"


def test_errors_are_not_cut_within_words_at_40_columns(start: Start):
    terminal = start(columns=40)
    shown = shown_by(terminal, "/load no-such-file.json")
    assert shown == (
        "error: there is no history file\nno-such-file.json\n\nhint: /sessions lists what is here"
    )


def test_list_of_conversations_fits_40_columns(start: Start):
    terminal = start(columns=40)
    terminal.submit("写一首关于大海的诗，要有月亮和星星，还要有一点点忧伤")
    shown = shown_by(terminal, "/sessions")
    first, second = shown.splitlines()[:2]
    assert first.replace(" ", "").startswith("1写一首")
    assert re.fullmatch(r" +\d{4}-\d\d-\d\d \d\d:\d\d +1 turn", second)
