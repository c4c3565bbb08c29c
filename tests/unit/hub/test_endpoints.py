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
        ("localhost:8090", "http://localhost:8090"),
        ("[::1]:9/hub", "http://[::1]:9/hub"),
        ("172.16.0.4:8090", "http://172.16.0.4:8090"),
        ("172.32.0.4:8090", "https://172.32.0.4:8090"),
        ("192.168.1.2:443", "https://192.168.1.2:443"),
        ("127.0.0.1:4430", "http://127.0.0.1:4430"),
        ("localhost.example", "https://localhost.example"),
        ("https://localhost:1", "https://localhost:1"),
    ],
)
def test_base_url_is_normalised(text, url):
    assert normalise_url(text) == url


@pytest.mark.parametrize(
    "text",
    ["", "ftp://x", "http://", "http://x?q=1", "http://u:p@x", "http://x:99999", "not a url"],
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
        (EndpointOrigin.CONFIG, True),
        (EndpointOrigin.AUTOMATIC, False),
        (EndpointOrigin.PASTED, False),
    ],
)
def test_only_endpoints_the_user_named_get_the_token(origin, is_trusted):
    assert Endpoint("https://mirror.example", origin).is_trusted_with_token is is_trusted


def test_the_official_hub_gets_the_token_even_when_chosen_automatically():
    assert Endpoint("https://huggingface.co", EndpointOrigin.AUTOMATIC).is_trusted_with_token


@pytest.mark.parametrize(
    ("environ", "configured", "origin"),
    [
        ({}, [], EndpointOrigin.PASTED),
        ({"HF_ENDPOINT": "https://other.example"}, [], EndpointOrigin.PASTED),
        ({"HF_ENDPOINT": "http://hub.example"}, [], EndpointOrigin.PASTED),
        ({"HF_ENDPOINT": "x.example,hub.example"}, [], EndpointOrigin.ENVIRONMENT),
        ({}, ["hub.example"], EndpointOrigin.CONFIG),
    ],
)
def test_pasted_address_is_trusted_where_an_endpoint_is_named_alike(environ, configured, origin):
    chosen = choose_endpoints([], environ, configured, pasted="https://HUB.example/")
    assert chosen == (Endpoint("https://hub.example", origin),)


def test_link_to_the_official_hub_leaves_the_mirror_to_the_settings():
    link = "https://huggingface.co"
    environ = {"HF_ENDPOINT": "https://mirror.example"}
    assert [one.url for one in choose_endpoints([], environ, pasted=link)] == [
        "https://mirror.example"
    ]
    assert [one.url for one in choose_endpoints([], {}, pasted=link)] == [link]


def test_flags_win_over_a_pasted_address():
    chosen = choose_endpoints(["a.example"], {}, pasted="https://b.example")
    assert chosen == (Endpoint("https://a.example", EndpointOrigin.FLAG),)


@pytest.mark.parametrize(
    ("url", "is_in_clear"),
    [
        ("https://hub.example", False),
        ("http://127.0.0.1:8080", False),
        ("http://localhost", False),
        ("http://[::1]:1", False),
        ("http://hub.example", True),
        ("http://127.0.0.1.evil.example", True),
        ("http://10.0.0.1", True),
    ],
)
def test_plain_http_beyond_the_machine_is_in_clear(url, is_in_clear):
    assert Endpoint(url).is_in_clear is is_in_clear
