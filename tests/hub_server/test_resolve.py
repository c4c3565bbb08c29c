"""``resolve`` and the CDN: headers, redirects, ranges, links that expire."""

import hashlib

import pytest

from tests.hub import Content, Generated, HubStyle, LoopbackHub, Repo, read_content
from tests.hub.fixtures import HubFactory
from tests.hub_server.client import cdn_link, fetch, fetch_on, fetch_range, open_connection

WEIGHTS = Generated(12_000_000, seed=7)
FILES: dict[str, Content] = {
    "config.json": b'{"a": 1}',
    "model.safetensors": WEIGHTS,
    "tiny.gguf": b"abc",
    "empty.txt": b"",
    "空 格 #1%.txt": b"names",
}


@pytest.fixture
def repo() -> Repo:
    return Repo("org/name", FILES)


@pytest.fixture
def hub(hub_factory: HubFactory, repo: Repo) -> LoopbackHub:
    return hub_factory([repo])


def resolve(hub: LoopbackHub, path: str) -> str:
    return f"{hub.url}/org/name/resolve/main/{path}"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_plain_file_comes_from_the_hub(hub: LoopbackHub, repo: Repo, method: str) -> None:
    reply = fetch(resolve(hub, "config.json"), method=method)
    assert reply.status == 200
    assert reply.body == (FILES["config.json"] if method == "GET" else b"")
    assert reply.headers["Content-Length"] == "8"
    assert reply.headers["X-Repo-Commit"] == repo.sha
    assert reply.headers["ETag"] == f'"{repo.file("config.json").blob.git_sha1}"'
    assert reply.headers["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_lfs_file_is_redirected_to_the_cdn(hub: LoopbackHub, repo: Repo, method: str) -> None:
    reply = fetch(resolve(hub, "tiny.gguf"), method=method)
    sha256 = hashlib.sha256(b"abc").hexdigest()
    assert reply.status == 302
    assert reply.headers["X-Linked-Size"] == "3"
    assert reply.headers["X-Linked-ETag"] == reply.headers["ETag"] == f'"{sha256}"'
    assert reply.headers["X-Repo-Commit"] == repo.sha
    location = reply.headers["Location"]
    assert location.startswith(f"{hub.cdn_url}/")
    assert "Expires=" in location
    assert "Signature=" in location
    assert fetch(location).body == b"abc"


def test_link_with_another_signature_is_refused(hub: LoopbackHub) -> None:
    link = cdn_link(resolve(hub, "tiny.gguf"))
    reply = fetch(link.replace("Signature=", "Signature=0"))
    assert reply.status == 403
    assert b"AccessDenied" in reply.body


def test_link_expires(hub_factory: HubFactory, repo: Repo) -> None:
    hub = hub_factory([repo], link_ttl_s=0)
    assert fetch(cdn_link(resolve(hub, "tiny.gguf"))).status == 403


def test_link_of_an_old_commit_keeps_its_content(hub: LoopbackHub) -> None:
    link = cdn_link(resolve(hub, "tiny.gguf"))
    hub.commit("org/name", {"tiny.gguf": b"changed"})
    assert fetch(link).body == b"abc"
    assert fetch(cdn_link(resolve(hub, "tiny.gguf"))).body == b"changed"


@pytest.mark.parametrize("tls", [False, True])
def test_ranges_of_a_large_file_are_exact(hub_factory: HubFactory, repo: Repo, tls: bool) -> None:
    hub = hub_factory([repo], tls=tls)
    link = cdn_link(resolve(hub, "model.safetensors"), ca_file=hub.ca_file)
    connection = open_connection(link, ca_file=hub.ca_file)
    size = WEIGHTS.size_bytes
    for start, stop in [(0, 1), (4_000_000, 9_000_000), (size - 1, size), (0, size)]:
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        reply = fetch_on(connection, link, headers)
        assert reply.status == 206
        assert reply.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
        assert reply.body == read_content(WEIGHTS, start, stop - start)
    connection.close()
    assert hub.connections("cdn")[2] == 1


def test_range_outside_is_416(hub: LoopbackHub) -> None:
    reply = fetch(resolve(hub, "config.json"), {"Range": "bytes=8-"})
    assert reply.status == 416
    assert reply.headers["Content-Range"] == "bytes */8"


def test_if_range_with_another_etag_gives_the_whole(hub: LoopbackHub) -> None:
    etag = fetch(resolve(hub, "config.json"), method="HEAD").headers["ETag"]
    for value, status in [(etag, 206), ('"other"', 200)]:
        headers = {"Range": "bytes=1-2", "If-Range": value}
        assert fetch(resolve(hub, "config.json"), headers).status == status


def test_odd_names_and_empty_files_are_served(hub: LoopbackHub) -> None:
    name = "%E7%A9%BA%20%E6%A0%BC%20%231%25.txt"
    assert fetch(resolve(hub, name)).body == b"names"
    empty = fetch(resolve(hub, "empty.txt"))
    assert (empty.status, empty.body) == (200, b"")


def test_olah_answers_itself_without_linked_headers(hub_factory: HubFactory, repo: Repo) -> None:
    hub = hub_factory([repo], style=HubStyle.OLAH)
    reply = fetch_range(resolve(hub, "model.safetensors"), 5, 10)
    assert (reply.status, reply.body) == (206, read_content(WEIGHTS, 5, 5))
    assert not [name for name in reply.headers if name.lower().startswith("x-linked")]
    moved = fetch(f"{hub.url}/api/models/org/name/tree/main?recursive=true")
    assert moved.status == 307
    assert len(fetch(moved.headers["Location"]).document) == len(FILES)


def test_xet_headers_lead_nowhere(hub_factory: HubFactory, repo: Repo) -> None:
    hub = hub_factory([repo], has_xet=True)
    headers = fetch(resolve(hub, "tiny.gguf"), method="HEAD").headers
    assert len(headers["X-Xet-Hash"]) == 64
    assert 'rel="xet-auth"' in headers["Link"]
