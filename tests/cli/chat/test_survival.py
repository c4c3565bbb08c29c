"""Conversations that outlive what is killed in the middle of them."""

import os
import signal
import time
from pathlib import Path

import pytest

from qtool.chat.journal import last_journal, read_journal
from tests.cli.chat.conftest import Start, said
from tests.cli.openai_server import OpenAiServer


def test_killed_program_has_every_turn_for_the_next_one(start: Start, own_settings: Path):
    terminal = start()
    terminal.submit("one")
    terminal.submit("two")
    os.kill(terminal.child.pid, signal.SIGKILL)
    start("-c").wait("going on after 4 messages")
    assert said(own_settings) == ["one", "You said: one", "two", "You said: two"]


def test_program_killed_in_mid_reply_goes_on_with_the_question(
    start: Start, server: OpenAiServer, own_settings: Path
):
    server.pace_s = 0.05
    terminal = start()
    terminal.submit("one")
    server.reply = lambda messages: (f"w{n} " for n in range(1000))
    terminal.type("two\r")
    terminal.wait("w5 ")
    os.kill(terminal.child.pid, signal.SIGKILL)
    assert server.is_cut_off.wait(5)
    server.reply = lambda messages: iter(["at last"])
    again = start("-c")
    assert "the last message has no reply; /retry asks for one" in again.text
    again.submit("/retry")
    assert said(own_settings) == ["one", "You said: one", "two", "at last"]


def test_reply_that_goes_in_circles_is_ended_with_a_word(
    start: Start, server: OpenAiServer, own_settings: Path
):
    terminal = start()
    server.reply = lambda messages: ("special " for _ in range(100_000))
    terminal.submit("tell me a story")
    assert "[stopped: the reply repeats itself; /set repeat_penalty 1.1" in terminal.text
    assert server.is_cut_off.wait(5)
    kept = read_journal(last_journal(own_settings / "state" / "conversations"))
    assert kept[1].is_partial
    assert set(kept[1].content.split()) == {"special"}
    server.reply = lambda messages: iter(["fine"])
    terminal.submit("/retry")
    assert said(own_settings) == ["tell me a story", "fine"]


def test_server_that_dies_in_mid_reply_costs_the_rest_of_it(
    start: Start, server: OpenAiServer, own_settings: Path
):
    def dies(messages):
        yield from ("half ", "of it")
        raise OSError

    server.reply = dies
    terminal = start()
    terminal.submit("one")
    assert "half of it\nerror: the engine stopped in mid-reply" in terminal.text
    server.reply = lambda messages: iter([", and the rest"])
    terminal.submit("/continue")
    terminal.submit("two")
    assert said(own_settings)[:3] == ["one", "half of it, and the rest", "two"]
    kept = read_journal(last_journal(own_settings / "state" / "conversations"))
    assert not kept[1].is_partial


def test_ctrl_c_held_down_stops_the_reply_and_nothing_else(
    start: Start, server: OpenAiServer, own_settings: Path
):
    server.pace_s = 0.01
    server.reply = lambda messages: (f"w{n} " for n in range(1000))
    terminal = start()
    for turn in range(3):
        terminal.type("go\r")
        terminal.wait(lambda turn=turn: terminal.text.count("w9 ") > turn)
        for pause_s in (0, 0.0005, 0.001, 0.002, 0.004, 0.008):
            os.kill(terminal.child.pid, signal.SIGINT)
            time.sleep(pause_s)
        terminal.wait_for_prompt()
    assert terminal.text.count("[stopped]") == 3
    kept = said(own_settings)
    assert len(kept) == 6
    assert all(reply.startswith("w0 w1") for reply in kept[1::2])


@pytest.mark.parametrize("keys", ["\x03", "\x04"], ids=["ctrl+c", "ctrl+d"])
def test_keys_in_a_choice_give_the_turn_up_and_it_can_be_taken_again(
    start: Start, server: OpenAiServer, keys: str
):
    server.n_ctx_tokens = 1000
    server.reply = lambda messages: iter(["ok"])
    terminal = start()
    terminal.submit("x" * 440)
    terminal.submit("y" * 440)
    terminal.type("and now?\r")
    terminal.wait("what shall be done")
    terminal.wait_for_prompt()
    terminal.type(keys)
    terminal.wait("[stopped before the reply began; /retry asks again]")
    terminal.wait_for_prompt()
    assert len(server.bodies) == 2
    terminal.type("/retry\r")
    terminal.wait(lambda: terminal.text.count("what shall be done") == 2)
    terminal.wait_for_prompt()
    terminal.submit("d")
    assert "the oldest 2 messages were dropped" in terminal.text


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_terminated_program_keeps_what_was_said(
    start: Start, server: OpenAiServer, own_settings: Path, name: str
):
    server.pace_s = 0.05
    server.reply = lambda messages: (f"w{n} " for n in range(1000))
    terminal = start()
    terminal.type("go\r")
    terminal.wait("w5 ")
    os.kill(terminal.child.pid, getattr(signal, name))
    assert terminal.end() == 130
    kept = read_journal(last_journal(own_settings / "state" / "conversations"))
    assert kept[1].is_partial
    assert kept[1].content.startswith("w0 w1 w2")


def test_terminal_that_goes_away_ends_the_program(start: Start, own_settings: Path):
    terminal = start()
    terminal.submit("one")
    terminal.child.close(force=False)
    assert not terminal.child.isalive()
    assert said(own_settings) == ["one", "You said: one"]
