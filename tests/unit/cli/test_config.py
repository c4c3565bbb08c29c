"""How settings look."""

import pytest

from qtool.cli.config import setting_lines
from qtool.config import Config


@pytest.mark.parametrize("columns", [60, 80, 129])
def test_nothing_wraps_on_a_narrow_terminal(columns):
    values = Config({"QTOOL_SYSTEM": "short"}).values()
    lines = [line for value in values for line in setting_lines(value, columns)]
    wide = [line for line in lines if len(line) > columns]
    assert all(line.startswith("download.mirrors ") for line in wide)  # a word as long as that
    assert sum(not line.startswith(" ") for line in lines) == len(values)
    assert any("[$QTOOL_SYSTEM]" in line for line in lines)


def test_setting_is_one_line_where_there_is_room():
    value = Config({}).lookup("chat.max_new_tokens")
    (line,) = setting_lines(value, 130)
    assert line.split() == ["chat.max_new_tokens", "1024", "default", *value.setting.help.split()]
