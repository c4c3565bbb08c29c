import json
from pathlib import Path

import pytest

from qtool.download.backends.aria2c import Aria2c
from qtool.download.backends.hf_transfer import HfTransfer
from qtool.download.backends.program import Order
from qtool.download.backends.programs import find_program
from qtool.download.request import Backend
from qtool.errors import ResourceError
from qtool.hub.proxies import parse_proxy

SECRET_URL = "https://cdn.example/x?Signature=s3cret"
PROGRAMS = [Aria2c(), HfTransfer()]


def order(**options):
    fields = {"url": SECRET_URL, "target": Path("/t/ a/x.part"), "size_bytes": 1 << 30}
    return Order(**(fields | {"connections": 8} | options))


@pytest.mark.parametrize("program", PROGRAMS)
def test_arguments_hold_neither_address_nor_password(program):
    proxy = parse_proxy("http://ada:p%40ss@proxy:3128")
    arguments = " ".join(program.command(order(proxy=proxy)))
    assert "s3cret" not in arguments and "p@ss" not in arguments and "p%40ss" not in arguments


def test_order_is_printed_without_its_address():
    assert "s3cret" not in repr(order())


def test_folder_of_any_name_is_given_as_an_argument_to_aria2c():
    assert "--dir=/t/ a" in Aria2c().command(order())
    assert b" out=x.part\n" in Aria2c().instructions(order())


def test_aria2c_is_told_connections_rate_and_proxy():
    proxy = parse_proxy("http://ada:p%40ss@proxy:3128")
    text = Aria2c().instructions(order(rate_limit_bytes_per_s=1000.5, proxy=proxy)).decode()
    lines = text.splitlines()
    assert lines[0] == SECRET_URL
    assert {" split=8", " max-connection-per-server=8", " max-download-limit=1000"} <= set(lines)
    assert {" all-proxy=http://proxy:3128", " all-proxy-user=ada"} <= set(lines)
    assert " all-proxy-passwd=p@ss" in lines


def test_hf_transfer_gets_the_proxy_by_its_environment():
    proxy = parse_proxy("http://ada:p%40ss@proxy:3128")
    environment = HfTransfer().environment(order(proxy=proxy))
    assert environment["https_proxy"] == "http://ada:p%40ss@proxy:3128"
    assert HfTransfer().environment(order()) == {}


@pytest.mark.parametrize(
    ("size_bytes", "connections", "chunk"),
    [(1 << 40, 1, 10 << 20), (1 << 20, 16, 1 << 20), (64 << 20, 4, 4 << 20)],
)
def test_hf_transfer_cuts_pieces_between_1_and_10_mib(size_bytes, connections, chunk):
    sent = HfTransfer().instructions(order(size_bytes=size_bytes, connections=connections))
    arguments = json.loads(sent)
    assert arguments["chunk_size"] == chunk
    assert arguments["parallel_failures"] <= arguments["max_files"] == connections


def test_failure_of_the_disk_is_told_apart():
    assert isinstance(Aria2c().explain(9, "", order()), ResourceError)
    assert isinstance(Aria2c().explain(17, "", order()), ResourceError)
    full = "Error while writing: No space left on device (os error 28)"
    assert isinstance(HfTransfer().explain(1, full, order()), ResourceError)


def test_other_failures_are_given_in_words():
    assert Aria2c().explain(19, "", order()) == "aria2c: the server's name cannot be resolved"
    assert Aria2c().explain(77, "", order()) == "aria2c: it ended with code 77"
    assert HfTransfer().explain(1, "x\nlast words\n", order()) == "hf_transfer: last words"
    assert HfTransfer().explain(-9, "", order()) == "hf_transfer: it ended with code -9"


def test_every_backend_but_the_native_one_has_a_program():
    for backend in set(Backend) - {Backend.NATIVE}:
        assert find_program(backend).command(order())
