import io
import json

import pytest

from qtool.errors import NotFoundError
from qtool.language.message import say
from qtool.language.translation import Language
from qtool.output import Mode, Output, Style, wants_colour


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def voice(mode: Mode = Mode.TEXT, **environ: str) -> tuple[Output, io.StringIO, io.StringIO]:
    stdout, stderr = io.StringIO(), io.StringIO()
    return Output(mode, stdout=stdout, stderr=stderr, environ=environ), stdout, stderr


@pytest.mark.parametrize(
    ("is_terminal", "environ", "expected"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
        (False, {"FORCE_COLOR": "1"}, True),
        (False, {"FORCE_COLOR": "0"}, False),
        (True, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colour_follows_the_conventions(is_terminal: bool, environ: dict, expected: bool):
    stream = Terminal() if is_terminal else io.StringIO()
    assert wants_colour(stream, environ) is expected


def test_json_is_one_object_with_its_version_and_nothing_else():
    output, stdout, stderr = voice(Mode.JSON)
    output.note("working")
    output.result({"a": "你"}, ["text"])
    assert json.loads(stdout.getvalue()) == {"schema_version": 1, "a": "你"}
    assert stdout.getvalue().count("\n") == 1
    assert stderr.getvalue() == ""


def test_error_is_an_object_in_json_and_two_lines_in_text():
    error = NotFoundError("no such model: x", hint="qtool find x")
    output, stdout, _ = voice(Mode.JSON)
    output.error(error)
    assert json.loads(stdout.getvalue())["error"] == {
        "code": "not_found",
        "message": "no such model: x",
        "hint": "qtool find x",
    }
    output, stdout, stderr = voice()
    output.error(error)
    assert stderr.getvalue() == "error: no such model: x\n\nhint: qtool find x\n"
    assert stdout.getvalue() == ""


def test_quiet_says_results_and_errors_only():
    output, stdout, stderr = voice(Mode.QUIET)
    output.note("working")
    output.warn("careful")
    output.result({}, ["result"])
    assert (stdout.getvalue(), stderr.getvalue()) == ("result\n", "")


def test_colour_is_added_where_wanted_only():
    output, _, _ = voice(FORCE_COLOR="1")
    assert output.paint("x", Style.BOLD, Style.RED) == "\x1b[1;31mx\x1b[0m"
    output, _, _ = voice()
    assert output.paint("x", Style.BOLD) == output.paint_note("x", Style.RED) == "x"


def test_question_without_a_terminal_is_answered_by_its_default(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    output, _, _ = voice()
    assert output.ask("Really?", default=True) is True


@pytest.mark.parametrize(("typed", "expected"), [("\n", True), ("n\n", False), ("YES\n", True)])
def test_question_on_a_terminal_is_read(monkeypatch: pytest.MonkeyPatch, typed, expected):
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    output = Output(stdout=Terminal(), stderr=Terminal(), environ={})
    assert output.ask("Really?") is expected


def test_messages_are_said_in_the_language_and_json_stays_english():
    output, stdout, stderr = voice()
    output.language = Language.CHINESE
    output.warn(say("not installed"))
    output.result({}, [say("no difference"), "no difference"])
    assert stderr.getvalue() == "警告：未安装\n"
    assert stdout.getvalue() == "没有差别\nno difference\n"

    output, stdout, _ = voice(Mode.JSON)
    output.language = Language.CHINESE
    output.error(NotFoundError(say("no difference")))
    assert json.loads(stdout.getvalue())["error"]["message"] == "no difference"
