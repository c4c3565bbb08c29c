import socket

import pytest

from qtool.cli.listening import EVERYWHERE, Place, find_place
from qtool.engines.base import Endpoint
from qtool.errors import UsageError


def test_loopback_is_not_exposed_and_everything_else_is():
    assert find_place("localhost", 0) == Place("127.0.0.1", 0)
    assert not find_place("127.0.0.2", 0).is_exposed
    assert find_place(EVERYWHERE, 0).is_exposed


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("::1", "no IPv4 address"),
        ("no such name", "no IPv4 address"),
        ("\udcff", "no IPv4 address"),
        ("192.0.2.1", "no address of this machine"),
    ],
)
def test_address_that_cannot_be_had_is_refused_with_those_that_can(host: str, why: str):
    with pytest.raises(UsageError, match=why) as caught:
        find_place(host, 0)
    assert "--host 127.0.0.1" in (caught.value.hint or "")


def test_port_that_is_taken_on_the_address_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} of 127.0.0.1"):
            find_place("127.0.0.1", port)
        assert find_place("127.0.0.2", port).port == port


def test_url_is_one_that_others_can_use():
    endpoint = Endpoint("http://0.0.0.0:8000", "key", "m", "llama.cpp")
    assert Place("127.0.0.2", 0).seen_from_outside(endpoint).url == "http://127.0.0.2:8000"
    assert "0.0.0.0" not in Place(EVERYWHERE, 0).seen_from_outside(endpoint).url
