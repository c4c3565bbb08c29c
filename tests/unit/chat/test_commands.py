import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtool.chat.attachment import Attachment, read_attachment, with_attachments
from qtool.chat.clipboard import MAX_BYTES, copy_sequence
from qtool.chat.commands import (
    COMMANDS,
    Command,
    complete,
    describe_commands,
    parse_command,
    parse_count,
)
from qtool.chat.request import Sampling
from qtool.chat.tuning import change_sampling, describe_sampling, describe_value
from qtool.errors import NotFoundError, QtoolError, UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/undo", Command("undo")),
        ("/UNDO 3 ", Command("undo", "3")),
        ("/system You are\nbrief.", Command("system", "You are\nbrief.")),
        ("/?", Command("help")),
        ("/quit", Command("exit")),
        ("/file  /tmp/my notes.txt", Command("file", "/tmp/my notes.txt")),
    ],
)
def test_command_is_read_with_its_argument(text: str, expected: Command):
    assert parse_command(text) == expected


@pytest.mark.parametrize(
    "text",
    ["hello /undo", " /undo", "/etc/passwd is what?", "/* comment */ int x;", "//", "/", "1/2"],
)
def test_what_only_looks_alike_goes_to_the_model(text: str):
    assert parse_command(text) is None


@pytest.mark.parametrize(
    ("typed", "meant"), [("/udno", "/undo"), ("/sess", "/sessions"), ("/regenrate", "/retry")]
)
def test_unknown_command_says_which_was_meant(typed: str, meant: str):
    with pytest.raises(UsageError, match=f"no command {typed}") as caught:
        parse_command(typed)
    assert (caught.value.hint or "").startswith(meant)


@given(st.text())
def test_any_text_is_a_command_a_mistake_or_something_to_say(text: str):
    try:
        command = parse_command(f"/{text}")
    except UsageError:
        return
    assert command is None or command.name in {spec.name for spec in COMMANDS}


def test_every_command_is_described_and_completed():
    for spec in COMMANDS:
        assert spec.usage in describe_commands(80)
        assert f"/{spec.name}" in list(complete(f"/{spec.name[:2]}"))
    assert list(complete("/think f")) == ["fold"]
    assert list(complete("/set te")) == ["temperature"]
    assert list(complete("/help un")) == ["undo"]
    assert list(complete("/nothing x")) == []


@pytest.mark.parametrize("named", ["undo", "/undo", "UNDO "])
def test_help_for_one_command_is_that_alone(named: str):
    assert describe_commands(80, named) == "/undo [N]  withdraw the last turn, or the last N"
    with pytest.raises(UsageError, match="no command /unto"):
        describe_commands(80, "unto")


@pytest.mark.parametrize("argument", ["0", "-1", "two", "1" * 5000, "²"])
def test_number_of_turns_that_is_none_is_refused(argument: str):
    with pytest.raises(UsageError):
        parse_count(argument)


def test_values_are_set_by_name_and_taken_back():
    sampling, name = change_sampling(Sampling(), "temperature 0.5")
    assert describe_value(sampling, name, {"temperature": 1.0}) == "temperature is 0.5"
    sampling, name = change_sampling(sampling, "--top-k=7")
    assert name == "top_k"
    assert sampling == Sampling(temperature=0.5, top_k=7)
    assert change_sampling(sampling, "top_k -") == (Sampling(temperature=0.5), "top_k")
    shown = describe_sampling(sampling, {"temperature": 1.0, "top_p": 0.95})
    assert "temperature     0.5" in shown
    assert "top_p           0.95 (the engine's own)" in shown
    assert "min_p           (left to the engine)" in shown


@pytest.mark.parametrize(
    "argument",
    [
        *("heat 1", "temperature warm", "temperature -1", "temperature nan", "top_p 1.1", "x"),
        *("seed 4294967295", "max_new_tokens 0", "temperature", "repeat_penalty 0", "top_k 1.5"),
    ],
)
def test_value_that_cannot_be_is_refused(argument: str):
    with pytest.raises(UsageError):
        change_sampling(Sampling(), argument)


def test_unknown_value_says_which_was_meant():
    with pytest.raises(UsageError) as caught:
        change_sampling(Sampling(), "temprature 0.5")
    assert caught.value.hint == "/set temperature 0.5"


def test_file_goes_along_in_a_fence_longer_than_its_own(tmp_path):
    path = tmp_path / "my notes.md"
    path.write_text("a\n````\nb\n````\n")
    attachment = read_attachment(f'"{path}"')
    assert with_attachments("What is this?", [attachment]) == (
        "my notes.md:\n`````\na\n````\nb\n````\n`````\n\nWhat is this?"
    )
    assert with_attachments("Hi", []) == "Hi"
    assert attachment == Attachment("my notes.md", path.read_text())


def test_file_that_is_none_or_no_text_is_refused(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "nul").write_bytes(b"a\0b")
    for name, kind in (("none", NotFoundError), ("", UsageError)):
        with pytest.raises(kind):
            read_attachment(str(tmp_path / name))
    for name in ("binary", "nul"):
        with pytest.raises(UsageError, match="text"):
            read_attachment(str(tmp_path / name))
    for argument in ("", "a\0b", "~nobody-at-all/x"):
        with pytest.raises(QtoolError):
            read_attachment(argument)


def test_clipboard_sequence_is_wrapped_within_tmux_and_bounded():
    assert copy_sequence("hi", {}) == "\x1b]52;c;aGk=\x07"
    assert copy_sequence("hi", {"TMUX": "x"}) == "\x1bPtmux;\x1b\x1b]52;c;aGk=\x07\x1b\\"
    with pytest.raises(UsageError):
        copy_sequence("x" * (MAX_BYTES + 1), {})
