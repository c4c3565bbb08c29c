"""The JSON API: information, trees, revisions, access."""

import hashlib
import re
from typing import Any
from urllib.parse import quote

import pytest

from tests.hub import Content, Generated, LoopbackHub, Repo
from tests.hub.fixtures import HubFactory
from tests.hub_server.client import fetch

FILES: dict[str, Content] = {
    "README.md": b"# hello",
    "model.gguf": b"GGUF tiny",
    "onnx/model.onnx": Generated(12_000_000),
    "onnx/deep/er.txt": b"",
    "空 格 #1%.txt": b"names",
}


@pytest.fixture
def repo() -> Repo:
    return Repo("org/name", FILES, tags=["gguf", "base_model:quantized:org/base"])


@pytest.fixture
def hub(hub_factory: HubFactory, repo: Repo) -> LoopbackHub:
    return hub_factory([repo], tokens={"hf_ada": "ada", "hf_bob": "bob"}, page_size=3)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_info_lists_names_only_without_blobs(hub: LoopbackHub, repo: Repo) -> None:
    info = fetch(f"{hub.url}/api/models/org/name").document
    assert info["sha"] == repo.sha
    assert (info["gated"], info["private"]) == (False, False)
    assert info["siblings"] == [{"rfilename": path} for path in sorted(FILES)]


def test_info_with_blobs_has_sizes_and_hashes(hub: LoopbackHub, repo: Repo) -> None:
    info = fetch(f"{hub.url}/api/models/org/name/revision/main?blobs=true").document
    siblings = {entry["rfilename"]: entry for entry in info["siblings"]}
    assert siblings["README.md"] == {
        "rfilename": "README.md",
        "size": 7,
        "blobId": hashlib.sha1(b"blob 7\0# hello").hexdigest(),
    }
    lfs = siblings["model.gguf"]["lfs"]
    pointer = repo.file("model.gguf").pointer
    assert lfs["sha256"] == hashlib.sha256(b"GGUF tiny").hexdigest()
    assert (lfs["size"], lfs["pointerSize"]) == (9, len(pointer))
    assert siblings["model.gguf"]["blobId"] == repo.file("model.gguf").oid


def all_pages(url: str) -> tuple[list[dict[str, Any]], int]:
    entries: list[dict[str, Any]] = []
    pages, following = 0, url
    while following:
        reply = fetch(following)
        entries += reply.document
        pages += 1
        link = re.fullmatch(r'<([^>]+)>; rel="next"', reply.headers.get("Link", ""))
        following = link[1] if link else ""
    return entries, pages


def test_recursive_tree_is_paged_and_complete(hub: LoopbackHub) -> None:
    entries, pages = all_pages(f"{hub.url}/api/models/org/name/tree/main?recursive=true")
    assert pages == 3
    assert {e["path"] for e in entries if e["type"] == "file"} == set(FILES)
    assert [e["path"] for e in entries if e["type"] == "directory"] == ["onnx", "onnx/deep"]
    onnx = next(e for e in entries if e["path"] == "onnx/model.onnx")
    assert set(onnx["lfs"]) == {"oid", "size", "pointerSize"}


def test_tree_of_a_folder_lists_direct_entries(hub: LoopbackHub) -> None:
    entries = fetch(f"{hub.url}/api/models/org/name/tree/main/onnx").document
    assert [e["path"] for e in entries] == ["onnx/deep", "onnx/model.onnx"]


def test_expanded_tree_names_the_last_commit(hub: LoopbackHub, repo: Repo) -> None:
    entries = fetch(f"{hub.url}/api/models/org/name/tree/main?expand=true").document
    assert {entry["lastCommit"]["id"] for entry in entries} == {repo.sha}


@pytest.mark.parametrize("encode", [True, False])
def test_revision_with_a_slash_is_found(hub: LoopbackHub, repo: Repo, encode: bool) -> None:
    repo.tag("refs/pr/1")
    repo.commit({"README.md": b"newer"})
    revision = quote("refs/pr/1", safe="") if encode else "refs/pr/1"
    assert fetch(f"{hub.url}/org/name/resolve/{revision}/README.md").body == b"# hello"
    assert fetch(f"{hub.url}/org/name/resolve/main/README.md").body == b"newer"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/models/org/missing", 401, "RepoNotFound"),
        ("/api/models/org/name/revision/nowhere", 404, "RevisionNotFound"),
        ("/api/models/org/name/tree/nowhere", 404, "RevisionNotFound"),
        ("/api/models/org/name/tree/main/nothing", 404, "EntryNotFound"),
        ("/org/name/resolve/nowhere/README.md", 404, "RevisionNotFound"),
        ("/org/name/resolve/main/missing.bin", 404, "EntryNotFound"),
        ("/api/datasets/org/name", 401, "RepoNotFound"),
    ],
)
def test_missing_things_have_their_error_codes(
    hub: LoopbackHub, path: str, status: int, code: str
) -> None:
    reply = fetch(hub.url + path)
    assert (reply.status, reply.headers["X-Error-Code"]) == (status, code)
    assert reply.headers["X-Error-Message"]


def test_missing_repository_is_404_for_a_user(hub: LoopbackHub) -> None:
    reply = fetch(f"{hub.url}/api/models/org/missing", bearer("hf_ada"))
    assert (reply.status, reply.headers["X-Error-Code"]) == (404, "RepoNotFound")


def test_wrong_token_is_refused_everywhere(hub: LoopbackHub) -> None:
    reply = fetch(f"{hub.url}/api/models/org/name", bearer("hf_wrong"))
    assert reply.status == 401
    assert "Invalid credentials" in reply.headers["X-Error-Message"]


def test_whoami_names_the_user(hub: LoopbackHub) -> None:
    assert fetch(f"{hub.url}/api/whoami-v2", bearer("hf_ada")).document["name"] == "ada"
    assert fetch(f"{hub.url}/api/whoami-v2").status == 401


@pytest.mark.parametrize(("token", "status"), [(None, 401), ("hf_bob", 403), ("hf_ada", 200)])
def test_gated_repository_is_read_by_its_readers(
    hub: LoopbackHub, token: str | None, status: int
) -> None:
    hub.add_repo(Repo("org/gated", {"a.txt": b"x"}, gated="manual", readers=["ada"]))
    headers = bearer(token) if token else {}
    reply = fetch(f"{hub.url}/org/gated/resolve/main/a.txt", headers)
    assert reply.status == status
    assert reply.headers.get("X-Error-Code") == (None if status == 200 else "GatedRepo")
    assert fetch(f"{hub.url}/api/models/org/gated").document["gated"] == "manual"


@pytest.mark.parametrize(("token", "status"), [(None, 401), ("hf_bob", 404), ("hf_ada", 200)])
def test_private_repository_is_seen_by_its_readers(
    hub: LoopbackHub, token: str | None, status: int
) -> None:
    hub.add_repo(Repo("org/private", {"a.txt": b"x"}, private=True, readers=["ada"]))
    reply = fetch(f"{hub.url}/api/models/org/private", bearer(token) if token else {})
    assert reply.status == status


def test_datasets_have_their_own_routes(hub: LoopbackHub) -> None:
    hub.add_repo(Repo("org/data", {"train.csv": b"a,b"}, repo_type="dataset"))
    assert fetch(f"{hub.url}/api/datasets/org/data").document["id"] == "org/data"
    assert fetch(f"{hub.url}/datasets/org/data/resolve/main/train.csv").body == b"a,b"
    assert fetch(f"{hub.url}/org/data/resolve/main/train.csv").status == 401


def test_legacy_name_without_owner_is_served(hub: LoopbackHub) -> None:
    hub.add_repo(Repo("gpt2", {"a.txt": b"old"}))
    assert fetch(f"{hub.url}/api/models/gpt2").document["id"] == "gpt2"
    assert fetch(f"{hub.url}/gpt2/resolve/main/a.txt").body == b"old"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("search=NAM", ["org/name"]),
        ("search=zzz", []),
        ("filter=gguf", ["org/name"]),
        ("filter=base_model:quantized:org/base", ["org/name"]),
        ("filter=awq", []),
    ],
)
def test_search_finds_by_name_and_tag(hub: LoopbackHub, query: str, found: list[str]) -> None:
    assert [m["id"] for m in fetch(f"{hub.url}/api/models?{query}").document] == found


def test_pages_together_are_the_whole_listing_at_ten_thousand_files() -> None:
    files: dict[str, Content] = {f"part-{i:05}.txt": b"%d" % i for i in range(10_000)}
    with LoopbackHub([Repo("org/many", files)]) as hub:
        entries, pages = all_pages(f"{hub.url}/api/models/org/many/tree/main?recursive=true")
    assert (len(entries), pages) == (10_000, 10)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b'{"paths": ["model.gguf", "none"], "expand": false}'),
        ("application/x-www-form-urlencoded", b"paths=model.gguf&paths=none"),
    ],
)
def test_paths_info_answers_for_files_that_are_there(
    hub: LoopbackHub, repo: Repo, kind: str, body: bytes
) -> None:
    url = f"{hub.url}/api/models/org/name/paths-info/{repo.sha}"
    reply = fetch(url, {"Content-Type": kind}, method="POST", body=body)
    (entry,) = reply.document
    assert entry["path"] == "model.gguf"
    assert entry["lfs"]["oid"] == repo.file("model.gguf").blob.sha256
