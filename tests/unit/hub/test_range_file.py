"""The beginning of a file on a hub, read piece by piece."""

import pytest

from qtool.errors import NetworkError, NotFoundError
from qtool.hub.client import HubClient
from qtool.hub.connection import ConnectionPool
from qtool.hub.endpoints import Endpoint, EndpointOrigin
from qtool.hub.listing import list_repo
from qtool.hub.range_file import PIECE_BYTES, RangeFile
from qtool.hub.repo import RepoRef
from tests.hub import Fault, FaultKind, Repo

CONTENT = bytes(range(256)) * 4096
"""One MiB."""


@pytest.fixture
def opened(hub_factory):
    """Return a hub with one file of a MiB, and that file."""
    hub, pool = hub_factory([Repo("org/name", {"m.bin": CONTENT})]), ConnectionPool()
    client = HubClient(pool, Endpoint(hub.url, EndpointOrigin.FLAG), attempts=1)
    listing = list_repo(client, RepoRef("org/name"))
    yield hub, RangeFile(client, listing, listing.files[0])
    pool.close()


def test_what_is_read_is_what_is_there(opened) -> None:
    _, file = opened

    assert file.read(8) == CONTENT[:8]
    assert (file.tell(), file.seek(0, 2)) == (8, len(CONTENT))
    assert file.read(1) == b""
    file.seek(300_000)
    assert file.read(100_000) == CONTENT[300_000:400_000]
    assert bytes(file.head) == CONTENT[: len(file.head)]


def test_small_reads_share_a_request(opened) -> None:
    hub, file = opened
    hub.reset()

    for _ in range(100):
        file.read(10)

    asked = [one.range for one in hub.requests if one.range]
    assert set(asked) == {f"bytes=0-{PIECE_BYTES - 1}"}


def test_a_hub_that_ignores_ranges_is_not_read_to_the_end(opened) -> None:
    hub, file = opened
    hub.add_fault(Fault(FaultKind.IGNORE_RANGE))

    with pytest.raises(NetworkError, match="sends whole files where a part is asked for"):
        file.read(8)


def test_a_file_that_is_gone_is_not_found(opened) -> None:
    hub, file = opened
    hub.commit("org/name", {"other": b"x"}, replace=True)
    file._listing = list_repo(file._client, RepoRef("org/name"))

    with pytest.raises(NotFoundError):
        file.read(8)
