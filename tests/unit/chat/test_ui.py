import io
import json
from dataclasses import replace

import pytest

from qtool.chat.request import Think
from qtool.chat.stdin import read_lines, read_prompt
from qtool.chat.stream import Delta, ReplyEnd
from qtool.chat.turn import STOPPED, Turn, describe_speed, describe_turn
from qtool.chat.ui.plain import JsonScreen, PlainScreen
from qtool.chat.ui.terminal import TerminalScreen
from qtool.engines.base import Progress
from qtool.errors import UsageError
from qtool.output import Mode, Output

TURN = Turn("yes", "hm", "llama.cpp", "m", ReplyEnd("stop", 30, 2, 20, 88.0), 0.25, 1.5)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def screen_on(stdout: io.StringIO, kind: type[PlainScreen] = PlainScreen, **options) -> PlainScreen:
    output = Output(Mode.TEXT, stdout=stdout, stderr=io.StringIO(), environ={})
    return kind(output, prompts=iter(()), **options)


def show(screen: PlainScreen, *deltas: Delta) -> None:
    for delta in deltas:
        screen.show(delta)
    screen.finish(TURN)


def test_reply_is_printed_as_it_comes_and_ends_its_line():
    stdout = io.StringIO()
    show(screen_on(stdout), Delta("hm", is_reasoning=True), Delta("y"), Delta("es"))
    assert stdout.getvalue() == "yes\n"


def test_reasoning_is_shown_on_request():
    stdout = io.StringIO()
    show(screen_on(stdout, think=Think.SHOW), Delta("hm ", is_reasoning=True), Delta("yes\n"))
    assert stdout.getvalue() == "hm yes\n"


def test_without_streaming_the_reply_comes_at_once():
    stdout = io.StringIO()
    show(screen_on(stdout, is_streaming=False), Delta("never"), Delta("shown"))
    assert stdout.getvalue() == "yes\n"


def test_control_characters_do_not_reach_a_terminal_but_do_reach_a_pipe():
    hostile = "a\x1b]52;c;cm0=\x07\x1b[2Jb\x9b\tc\n"
    for stdout, expected in ((Terminal(), "a]52;c;cm0=[2Jb\tc\n"), (io.StringIO(), hostile)):
        show(screen_on(stdout), Delta(hostile))
        assert stdout.getvalue() == expected


def test_json_screen_prints_one_object_a_turn():
    stdout = io.StringIO()
    screen = screen_on(stdout, JsonScreen)
    show(screen, Delta("yes"))
    show(screen, Delta("yes"))
    first, second = (json.loads(line) for line in stdout.getvalue().splitlines())
    assert first == second
    assert (first["reply"], first["reasoning"], first["finish_reason"]) == ("yes", "hm", "stop")
    assert first["usage"] == {"prompt_tokens": 30, "completion_tokens": 2, "cached_tokens": 20}
    assert first["timings"]["decode_tokens_per_s"] == 88.0


def test_speed_is_one_line_and_leaves_out_what_is_unknown():
    assert describe_speed(TURN) == (
        "2 tokens in 1.5 s, first after 0.25 s, 88.0 tokens/s, 20 of 30 prompt tokens cached"
    )
    unknown = replace(TURN, end=ReplyEnd("stop"), first_token_s=None)
    assert describe_speed(unknown) == "0 tokens in 1.5 s"


def test_speed_of_a_stopped_reply_is_what_was_seen_of_it():
    stopped = replace(TURN, end=ReplyEnd(STOPPED), total_s=2.25, n_pieces=41)
    assert describe_speed(stopped) == (
        "about 41 tokens in 2.2 s, first after 0.25 s, 20.0 tokens/s, stopped"
    )
    assert describe_turn(stopped)["timings"]["decode_tokens_per_s"] == pytest.approx(20)
    few = replace(stopped, n_pieces=3)
    assert describe_speed(few) == "about 3 tokens in 2.2 s, first after 0.25 s, stopped"


def test_lines_lose_their_ends():
    assert list(read_lines(io.BytesIO("你好\r\n\n last".encode()))) == ["你好", "", " last"]


@pytest.mark.parametrize("data", ["你好".encode("gbk"), b"\xff\n"])
def test_input_that_is_not_utf8_is_refused_with_the_cure(data: bytes):
    with pytest.raises(UsageError, match="not UTF-8") as caught:
        list(read_lines(io.BytesIO(data)))
    assert "iconv" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="not UTF-8"):
        read_prompt("Summarise", io.BytesIO(data))
    with pytest.raises(UsageError, match="not UTF-8"):
        read_prompt(data.decode("utf-8", "surrogateescape"), None)


def test_prompt_is_followed_by_what_is_piped_in():
    assert read_prompt("Summarise:", io.BytesIO(b" text\n")) == "Summarise:\n\ntext"
    assert read_prompt("Hi", io.BytesIO(b"\n")) == read_prompt("Hi", None) == "Hi"


def test_waiting_without_a_terminal_is_told_every_few_seconds_and_only_then():
    times = iter([0.0, 2.0, 5.0, 6.0, 10.0, 11.0])
    screen = screen_on(io.StringIO(), clock=lambda: next(times))
    for n_seen in range(5):
        screen.wait_for_engine(False, Progress("weights", n_seen / 10))
    screen.wait_for_engine(True)
    told = screen._output.stderr.getvalue().splitlines()
    assert told == ["loading the model: weights 20% …", "loading the model: weights 40% …"]


def test_status_on_a_terminal_follows_the_engine_and_goes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TERM", "xterm")
    stderr = Terminal()
    output = Output(Mode.TEXT, stdout=Terminal(), stderr=stderr, environ={"NO_COLOR": "1"})
    screen = TerminalScreen(output, editor=None)
    for progress in (None, Progress("weights", 0.5), Progress("weights", 0.5)):
        screen.wait_for_engine(False, progress)
    screen.wait_for_engine(True)
    erase = "\r\x1b[K"
    shown = f"loading the model …{erase}loading the model: weights 50% …{erase}"
    assert stderr.getvalue() == shown


class _Typed:
    """An editor at which lines were typed ahead."""

    given_up = ""

    def __init__(self, *lines: str) -> None:
        self._lines = iter(lines)

    def read(self, text: str = "") -> str:
        return next(self._lines)


@pytest.mark.parametrize(
    ("lines", "chosen"),
    [
        (("",), "drop-oldest"),
        (("D",), "drop-oldest"),
        (("s", "su"), "summarise"),
        (("x", "stop"), "stop"),
    ],
)
def test_choice_is_made_by_first_letters_and_enter_takes_the_first(lines, chosen: str):
    output = Output(Mode.TEXT, stdout=io.StringIO(), stderr=io.StringIO(), environ={})
    screen = TerminalScreen(output, editor=_Typed(*lines))
    assert screen.choose("which", ("drop-oldest", "stop", "summarise")) == chosen
