import pytest

from qtool.errors import UsageError
from qtool.hub.endpoints import Endpoint, EndpointOrigin, choose_endpoints, normalise_url
from qtool.hub.repo import RepoRef, RepoType


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://huggingface.co/", "https://huggingface.co"),
        ("hf-mirror.com", "https://hf-mirror.com"),
        ("HTTP://Example.ORG:8080/hub//", "http://example.org:8080/hub"),
        (" http://[::1]:9 ", "http://[::1]:9"),
    ],
)
def test_base_url_is_normalised(text, url):
    assert normalise_url(text) == url


@pytest.mark.parametrize(
    "text", ["", "ftp://x", "http://", "http://x?q=1", "http://u:p@x", "http://x:99999"]
)
def test_what_is_no_base_url_is_refused(text):
    with pytest.raises(UsageError):
        normalise_url(text)


def test_credentials_in_an_endpoint_are_not_repeated():
    with pytest.raises(UsageError) as caught:
        normalise_url("https://user:secret@host")
    assert "secret" not in caught.value.message + (caught.value.hint or "")


def test_flags_win_over_environment_and_configuration():
    chosen = choose_endpoints(["a.example"], {"HF_ENDPOINT": "b.example"}, ["c.example"])
    assert chosen == (Endpoint("https://a.example", EndpointOrigin.FLAG),)


def test_environment_may_hold_a_comma_list_with_repetitions():
    chosen = choose_endpoints([], {"HF_ENDPOINT": "a.example, b.example,,a.example/"})
    assert [endpoint.url for endpoint in chosen] == ["https://a.example", "https://b.example"]


def test_default_is_the_official_hub():
    assert choose_endpoints([], {"HF_ENDPOINT": ""}) == (Endpoint("https://huggingface.co"),)


def test_names_are_quoted_in_urls():
    endpoint = Endpoint("http://h")
    repo = RepoRef("org/name", "refs/pr/1", RepoType.DATASET)
    assert endpoint.info_url(repo) == (
        "http://h/api/datasets/org/name/revision/refs%2Fpr%2F1?blobs=true"
    )
    url = endpoint.file_url(repo, "c0ffee", "a b/#%中.txt")
    assert url == "http://h/datasets/org/name/resolve/c0ffee/a%20b/%23%25%E4%B8%AD.txt"


@pytest.mark.parametrize(
    ("origin", "is_trusted"),
    [
        (EndpointOrigin.FLAG, True),
        (EndpointOrigin.ENVIRONMENT, True),
        (EndpointOrigin.AUTOMATIC, False),
    ],
)
def test_only_endpoints_the_user_named_get_the_token(origin, is_trusted):
    assert Endpoint("https://mirror.example", origin).is_trusted_with_token is is_trusted


def test_the_official_hub_gets_the_token_even_when_chosen_automatically():
    assert Endpoint("https://huggingface.co", EndpointOrigin.AUTOMATIC).is_trusted_with_token
