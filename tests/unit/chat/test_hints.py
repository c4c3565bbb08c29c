import pytest

from qtool.chat.hints import OWN_COMMAND, complete_hint, own_command
from qtool.errors import UsageError


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["chat", "./my model", "--env", "tf"], "qtool chat './my model' --env tf"),
        (["chat", "-p", "tell me " * 50], OWN_COMMAND),
        (["chat"], "qtool chat"),
    ],
)
def test_own_command_can_be_pasted_unless_it_is_long(arguments: list[str], command: str):
    assert own_command(arguments) == command


def test_hint_repeats_the_users_own_command():
    exc = UsageError("no", hint="only then: qtool chat … --trust-pickle")
    complete_hint(exc, "qtool chat ./m --env tf")
    assert exc.hint == "only then: qtool chat ./m --env tf --trust-pickle"
    assert complete_hint(UsageError("no"), "qtool chat").hint is None
