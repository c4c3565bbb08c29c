import pytest

from qtool.errors import NotFoundError
from qtool.hub.client import HubClient
from qtool.hub.connection import ConnectionPool
from qtool.hub.endpoints import Endpoint, EndpointOrigin, HubApi, choose_endpoints
from qtool.hub.listing import list_repo
from qtool.hub.modelscope import parse_files
from qtool.hub.repo import RemoteFile, RepoRef, RepoType
from tests.hub import HubStyle, Repo

FILES = {"config.json": b"{}", "a b/#%中.bin": b"x" * 99, "empty": b""}


@pytest.fixture
def list_it(hub_factory):
    pool = ConnectionPool()

    def run(repo=RepoRef("org/name")):
        hub = hub_factory([Repo("org/name", FILES)], style=HubStyle.MODELSCOPE)
        endpoint = Endpoint(hub.url, EndpointOrigin.FLAG, HubApi.MODELSCOPE)
        return list_repo(HubClient(pool, endpoint, "hf_secret", attempts=1), repo), hub

    yield run
    pool.close()


def test_listing_has_the_sha256_of_every_file_in_one_request_without_token(list_it):
    listing, hub = list_it()
    repo = Repo("org/name", FILES)
    assert {file.path: (file.size_bytes, file.sha256) for file in listing.files} == {
        path: (repo.file(path).size_bytes, repo.file(path).blob.sha256) for path in FILES
    }
    assert listing.commit == repo.sha
    (request,) = hub.requests
    assert "Revision=master" in request.target
    assert not request.has_authorization


@pytest.mark.parametrize(
    "repo", [RepoRef("org/other"), RepoRef("org/name", "nope"),
             RepoRef("org/name", repo_type=RepoType.DATASET)],
)  # fmt: skip
def test_what_is_not_there_is_not_found(list_it, repo):
    with pytest.raises(NotFoundError):
        list_it(repo)


def test_addresses_are_quoted():
    endpoint = Endpoint("https://h", api=HubApi.MODELSCOPE)
    assert endpoint.file_url(RepoRef("org/name"), "c0ffee", "a b/#%.txt") == (
        "https://h/api/v1/models/org/name/repo?Revision=master&FilePath=a%20b%2F%23%25.txt"
    )


def test_host_tells_the_api():
    (endpoint,) = choose_endpoints(["modelscope.cn"], {})
    assert endpoint.api is HubApi.MODELSCOPE
    assert not endpoint.is_trusted_with_token


def test_commit_is_the_latest_of_all_files():
    def entry(path, revision, date):
        return {"Type": "blob", "Path": path, "Size": 1, "Revision": revision,
                "CommittedDate": date}  # fmt: skip

    entries = [entry("a", "a" * 40, 1), entry("b", "b" * 40, 3), entry("c", "c" * 40, 2)]
    commit, files = parse_files({"Data": {"Files": entries}})
    assert commit == "b" * 40
    assert files[0] == RemoteFile("a", 1)


@pytest.mark.parametrize(
    "data",
    [None, [], {}, {"Data": None}, {"Data": {"Files": None}}, {"Data": {"Files": [1]}},
     {"Data": {"Files": [{"Type": "blob", "Path": "a", "Size": -1}]}},
     {"Data": {"Files": [{"Type": "blob", "Path": 1, "Size": 1}]}},
     {"Data": {"Files": [{"Type": "blob", "Path": "a", "Size": True}]}},
     {"Data": {"Files": [{"Type": "blob", "Path": "a"}]}}],
)  # fmt: skip
def test_other_answers_are_refused(data):
    with pytest.raises(ValueError, match="file"):
        parse_files(data)
