import traceback

import pytest

from qtool.errors import UsageError
from qtool.hub.proxies import ProxyKind, find_proxy, parse_proxy


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_direct_without_settings():
    assert find_proxy("https", "hub.example", 443) is None


def test_proxy_of_the_scheme_is_taken(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    proxy = find_proxy("https", "hub.example", 443)
    assert proxy is not None and (proxy.host, proxy.port) == ("proxy.example", 3128)
    assert find_proxy("http", "hub.example", 80) is None


def test_all_proxy_serves_both_schemes(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "proxy.example:1")
    assert find_proxy("http", "hub.example", 80) == find_proxy("https", "hub.example", 443)


@pytest.mark.parametrize("excluded", ["*", "hub.example", ".example", "hub.example:443"])
def test_no_proxy_excludes_hosts(monkeypatch, excluded):
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", excluded)
    assert find_proxy("https", "hub.example", 443) is None


def test_credentials_are_decoded_and_kept_out_of_sight():
    proxy = parse_proxy("http://us%40er:p%3Ass@proxy:8080")
    assert proxy.headers == {"Proxy-Authorization": "Basic dXNAZXI6cDpzcw=="}
    for text in ("us@er", "p:ss", "us%40er"):
        assert text not in f"{proxy!r} {proxy} {proxy.url}"


@pytest.mark.parametrize(
    ("url", "kind", "port"),
    [
        ("proxy", ProxyKind.HTTP, 80),
        ("SOCKS5://proxy", ProxyKind.SOCKS5, 1080),
        ("socks5h://proxy:9050/", ProxyKind.SOCKS5H, 9050),
    ],
)
def test_kind_and_port_follow_from_the_scheme(url, kind, port):
    proxy = parse_proxy(url)
    assert (proxy.kind, proxy.host, proxy.port) == (kind, "proxy", port)


def test_credentials_of_a_socks_proxy_are_decoded():
    proxy = parse_proxy("socks5h://us%40er:p%3Ass@proxy")
    assert (proxy.username, proxy.password) == ("us@er", "p:ss")


@pytest.mark.parametrize("user", ["ada@", ":secret@", "é:secret@", f"{'a' * 256}:secret@"])
def test_credentials_that_socks_cannot_carry_are_refused_unseen(user):
    with pytest.raises(UsageError) as caught:
        parse_proxy(f"socks5h://{user}proxy")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["socks4://proxy", "socks://proxy", "https://proxy", "http://:80", "socks5h://u:secret@"]
)
def test_proxy_of_another_kind_is_refused_with_a_hint(url):
    with pytest.raises(UsageError) as caught:
        parse_proxy(url)
    assert "secret" not in str(caught.value)


def test_password_that_is_not_escaped_stays_out_of_tracebacks():
    secret = "half"
    with pytest.raises(UsageError) as caught:
        parse_proxy(f"socks5h://user:{secret}/other@proxy:1080")
    assert secret not in "".join(traceback.format_exception(caught.value))
