import os

import pytest

from qtool.engines.transformers_server.settings import Settings, parse_settings, read_settings


def test_settings_are_read_up_to_the_end_of_the_line():
    read, write = os.pipe()
    os.write(write, b'{"model": "/m/x/", "api_key": "k", "unknown": 1}\nthe rest')
    assert read_settings(read) == Settings(model="/m/x/", api_key="k")
    assert os.read(read, 100) == b"the rest"
    os.close(read)
    os.close(write)


def test_end_of_the_pipe_is_no_settings():
    read, write = os.pipe()
    os.write(write, b'{"model"')
    os.close(write)
    with pytest.raises(SystemExit, match="no settings"):
        read_settings(read)
    os.close(read)


@pytest.mark.parametrize(
    "line", [b"[]", b"{}", b'{"model": "m"}', b'{"model": "m", "api_key": ""}']
)
def test_model_and_key_are_required(line: bytes):
    with pytest.raises(SystemExit):
        parse_settings(line)


def test_key_is_not_in_the_representation():
    assert "secret" not in repr(Settings(model="m", api_key="secret"))


def test_model_is_called_by_its_folder_unless_it_has_an_alias():
    assert Settings(model="/m/x/", api_key="k").name == "x"
    assert Settings(model="/m/x", api_key="k", alias="y").name == "y"
