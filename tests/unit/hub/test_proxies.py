import pytest

from qtool.errors import UsageError
from qtool.hub.proxies import find_proxy, parse_proxy


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
    assert "dXNAZXI6cDpzcw" not in repr(proxy)


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:1080", "https://proxy", "http://:80"])
def test_proxy_of_another_kind_is_refused_with_a_hint(url):
    with pytest.raises(UsageError):
        parse_proxy(url)
