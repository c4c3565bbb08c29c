"""The hub in ModelScope's manners."""

import hashlib

import pytest

from tests.hub import Content, Generated, HubStyle, LoopbackHub, Repo, read_content
from tests.hub.fixtures import HubFactory
from tests.hub_server.client import fetch

WEIGHTS = Generated(1_200_000)
FILES: dict[str, Content] = {"config.json": b"{}", "sub/model.safetensors": WEIGHTS}


@pytest.fixture
def hub(hub_factory: HubFactory) -> LoopbackHub:
    return hub_factory([Repo("org/name", FILES)], style=HubStyle.MODELSCOPE)


def test_listing_has_sha256_of_every_file(hub: LoopbackHub) -> None:
    reply = fetch(f"{hub.url}/api/v1/models/org/name/repo/files?Revision=master&Recursive=true")
    assert (reply.document["Code"], reply.document["Success"]) == (200, True)
    files = {entry["Path"]: entry for entry in reply.document["Data"]["Files"]}
    assert files["sub"]["Type"] == "tree"
    for path, content in FILES.items():
        data = read_content(content)
        assert files[path]["Sha256"] == hashlib.sha256(data).hexdigest()
        assert files[path]["Size"] == len(data)
    assert [files[path]["IsLFS"] for path in FILES] == [False, True]


@pytest.mark.parametrize(
    ("query", "paths"),
    [("", {"config.json", "sub"}), ("?Root=sub", {"sub/model.safetensors"})],
)
def test_listing_of_one_level(hub: LoopbackHub, query: str, paths: set[str]) -> None:
    reply = fetch(f"{hub.url}/api/v1/models/org/name/repo/files{query}")
    assert {entry["Path"] for entry in reply.document["Data"]["Files"]} == paths


@pytest.mark.parametrize(
    "address",
    [
        "/api/v1/models/org/name/repo?Revision=master&FilePath=sub%2Fmodel.safetensors",
        "/models/org/name/resolve/master/sub/model.safetensors",
    ],
)
def test_lfs_file_is_redirected_to_its_bytes(hub: LoopbackHub, address: str) -> None:
    reply = fetch(hub.url + address)
    assert reply.status == 302
    assert fetch(reply.headers["Location"]).body == read_content(WEIGHTS)


def test_plain_file_is_served_directly(hub: LoopbackHub) -> None:
    reply = fetch(f"{hub.url}/api/v1/models/org/name/repo?FilePath=config.json")
    assert (reply.status, reply.body) == (200, b"{}")


@pytest.mark.parametrize(
    "address",
    [
        "/api/v1/models/org/missing/repo/files",
        "/api/v1/models/org/name/repo/files?Revision=v9",
        "/api/v1/models/org/name/repo?FilePath=missing",
        "/api/models/org/name",
    ],
)
def test_missing_things_are_404_with_a_code(hub: LoopbackHub, address: str) -> None:
    reply = fetch(hub.url + address)
    assert (reply.status, reply.document["Success"]) == (404, False)
