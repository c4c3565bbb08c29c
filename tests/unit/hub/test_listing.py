import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtool.errors import AuthError, NetworkError, NotFoundError
from qtool.hub.client import HubClient
from qtool.hub.connection import ConnectionPool
from qtool.hub.endpoints import Endpoint, EndpointOrigin
from qtool.hub.listing import files_of_info, files_of_tree, list_repo
from qtool.hub.other_kind import explained
from qtool.hub.repo import Listing, RepoRef, RepoType
from tests.hub import Fault, FaultKind, HubStyle, Repo

FILES = {"config.json": b"{}", "a b/#%中.bin": b"x" * 99, "empty": b""}


def listing_of(hub, repo=RepoRef("org/name"), *, token=None, style=EndpointOrigin.FLAG) -> Listing:
    pool = ConnectionPool()
    client = HubClient(pool, Endpoint(hub.url, style), token, pause=lambda seconds: None)
    try:
        return list_repo(client, repo)
    finally:
        pool.close()


@pytest.fixture
def pool():
    pool = ConnectionPool()
    yield pool
    pool.close()


def test_listing_has_sizes_and_digests(hub_factory):
    repo = Repo("org/name", FILES)
    listing = listing_of(hub_factory([repo]))
    assert listing.commit == repo.sha
    known = {file.path: file for file in listing.files}
    assert set(known) == set(FILES)
    for path, file in known.items():
        expected = repo.file(path)
        assert file.size_bytes == expected.size_bytes
        assert file.digest == expected.etag
        assert file.is_lfs == expected.is_lfs


@pytest.mark.parametrize("style", [HubStyle.HUGGINGFACE, HubStyle.OLAH])
def test_listing_is_the_same_from_every_kind_of_hub(hub_factory, style):
    listing = listing_of(hub_factory([Repo("org/name", FILES)], style=style))
    assert {file.path for file in listing.files} == set(FILES)
    assert all(file.digest for file in listing.files)


def test_huge_repository_is_read_in_pages(hub_factory):
    files = {f"f{number:05}": b"%d" % number for number in range(2300)}
    hub = hub_factory([Repo("org/name", files)], page_size=500)
    assert {file.path for file in listing_of(hub).files} == set(files)


def test_dataset_has_addresses_of_its_own(hub_factory):
    hub = hub_factory([Repo("org/data", {"a": b"1"}, repo_type="dataset")])
    listing = listing_of(hub, RepoRef("org/data", repo_type=RepoType.DATASET))
    assert [file.path for file in listing.files] == ["a"]


def test_missing_repository_is_not_found(hub_factory):
    with pytest.raises(NotFoundError, match="no model org/other"):
        listing_of(hub_factory([Repo("org/name", FILES)]), RepoRef("org/other"))


def test_missing_revision_is_not_found(hub_factory):
    with pytest.raises(NotFoundError, match="no revision 'nope'"):
        listing_of(hub_factory([Repo("org/name", FILES)]), RepoRef("org/name", "nope"))


def test_private_repository_is_listed_with_a_token_only(hub_factory):
    repo = Repo("org/name", FILES, private=True, readers=["ada"])
    hub = hub_factory([repo], tokens={"hf_ada": "ada"})
    with pytest.raises((NotFoundError, AuthError)):
        listing_of(hub)
    assert listing_of(hub, token="hf_ada").commit == repo.sha


def test_token_is_not_sent_to_a_mirror_the_user_did_not_name(hub_factory):
    hub = hub_factory([Repo("org/name", FILES)], tokens={"hf_ada": "ada"})
    listing_of(hub, token="hf_ada", style=EndpointOrigin.AUTOMATIC)
    assert not any(request.has_authorization for request in hub.requests)


def test_busy_hub_is_asked_again(hub_factory):
    hub = hub_factory([Repo("org/name", FILES)])
    hub.add_fault(Fault(FaultKind.UNAVAILABLE, times=3))
    assert len(listing_of(hub).files) == len(FILES)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (FaultKind.UNAVAILABLE, "503"),
        (FaultKind.LOGIN_PAGE, "web page"),
        (FaultKind.REDIRECT_LOOP, "circles"),
        (FaultKind.NO_REPLY, "does not answer"),
        (FaultKind.DEAD, "does not answer"),
    ],
)
def test_hub_that_keeps_failing_is_a_network_error(hub_factory, kind, words):
    hub = hub_factory([Repo("org/name", FILES)])
    hub.add_fault(Fault(kind, times=None))
    with pytest.raises(NetworkError, match=words):
        listing_of(hub)


def without_digests(file, *_):
    return {"rfilename": file.path, "size": file.size_bytes}


def test_digests_come_from_the_tree_where_the_metadata_has_none(hub_factory, monkeypatch):
    monkeypatch.setattr("tests.hub.api._sibling", without_digests)
    hub = hub_factory([Repo("org/name", FILES)])
    assert all(file.digest for file in listing_of(hub).files)


def test_hub_that_gives_no_digest_anywhere_is_listed_without(hub_factory, monkeypatch):
    monkeypatch.setattr("tests.hub.api._sibling", without_digests)
    hub = hub_factory([Repo("org/name", FILES)])
    hub.add_fault(Fault(FaultKind.UNAVAILABLE, path="/api/*/tree/*", times=None))
    listing = listing_of(hub)
    assert {file.path for file in listing.files} == set(FILES)
    assert all(file.digest is None for file in listing.files)


@pytest.mark.parametrize("digest", ["abc", "z" * 40, 7, {}, "", "é" * 40, "a" * 41])
@pytest.mark.parametrize("field", ["blobId", "lfs"])
def test_malformed_digest_makes_the_listing_malformed(hub_factory, monkeypatch, digest, field):
    value = {"size": 2, "sha256": digest, "oid": digest} if field == "lfs" else digest
    monkeypatch.setattr(
        "tests.hub.api._sibling",
        lambda file, _: {"rfilename": file.path, "size": file.size_bytes, field: value},
    )
    with pytest.raises(NetworkError, match=r"digest of 'config\.json'"):
        listing_of(hub_factory([Repo("org/name", {"config.json": b"{}"})]))


def test_empty_repository_is_said_to_be_empty(hub_factory):
    with pytest.raises(NotFoundError, match="empty"):
        listing_of(hub_factory([Repo("org/name", {})]))


@pytest.mark.parametrize("siblings", [None, {}, "x", [None]])
def test_malformed_metadata_with_an_empty_tree_is_no_empty_repository(
    hub_factory, monkeypatch, siblings
):
    repo = Repo("org/name", FILES)
    info = {"sha": repo.sha, "siblings": siblings}
    monkeypatch.setattr("tests.hub.site.repo_info", lambda *_, **__: info)
    monkeypatch.setattr("tests.hub.site.tree_entries", lambda *_, **__: [])
    with pytest.raises(NetworkError, match="no list of files"):
        listing_of(hub_factory([repo]))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["rfilename", "path", "size", "lfs", "oid", "sha256", "type"]), inner
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_in_place_of_siblings_is_survived(data):
    try:
        files = files_of_info({"siblings": data})
    except ValueError:
        return
    assert files is None or all(file.size_bytes >= 0 for file in files)


@given(st.lists(JSON, max_size=3))
def test_any_json_in_a_tree_is_listed_or_refused(entries):
    try:
        files = list(files_of_tree(entries))
    except ValueError:
        return
    assert all(isinstance(file.path, str) for file in files)


@pytest.mark.parametrize("is_main", [True, False])
def test_dataset_asked_for_as_a_model_is_called_one(hub_factory, pool, is_main):
    data = Repo("org/data", {"a": b"1"}, repo_type="dataset")
    asked = "main" if is_main else data.sha
    repo, client = RepoRef("org/data", asked), HubClient(pool, Endpoint(hub_factory([data]).url))
    with pytest.raises(NotFoundError) as caught:
        list_repo(client, repo)
    failure = explained(caught.value, client, repo)
    assert failure.message.endswith("has no model org/data, but a dataset of that name")
    revision = "" if is_main else f" --revision {data.sha}"
    assert failure.hint == f"qtool download org/data{revision} --dataset"


def test_what_is_nowhere_stays_what_it_is(hub_factory, pool):
    client, failure = HubClient(pool, Endpoint(hub_factory().url)), NotFoundError("no such thing")
    assert explained(failure, client, RepoRef("org/name")) is failure


def test_neighbour_that_does_not_answer_in_tls_is_asked_once():
    with socket.create_server(("127.0.0.1", 0)) as server:
        pool = ConnectionPool(connect_timeout_s=0.2)
        client = HubClient(pool, Endpoint(f"https://127.0.0.1:{server.getsockname()[1]}"))
        with pytest.raises(NetworkError, match="no TLS handshake in time"):
            list_repo(client, RepoRef("org/name"))
        server.setblocking(False)
        server.accept()[0].close()
        with pytest.raises(BlockingIOError):
            server.accept()
    pool.close()
