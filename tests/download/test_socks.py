import builtins
import gc
import socket
import time

import pytest

from qtool.errors import EnvironmentFault, NetworkError
from qtool.hub.connection import ConnectionPool
from qtool.hub.origin import Origin
from qtool.hub.proxies import ProxyFailure
from qtool.hub.sockets import tls_context
from tests.hub import Generated, Repo, read_content
from tests.hub.socks import IPV4, NAME, Behaviour, SocksProxy

BODY = bytes(range(256)) * 40
PATH = "/org/name/resolve/main/a.txt"
SECRET = "s3cret-word"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def pool():
    pool = ConnectionPool(connect_timeout_s=0.5, stall_timeout_s=2)
    yield pool
    pool.close()


@pytest.fixture
def hub(hub_factory):
    return hub_factory([Repo("org/name", {"a.txt": BODY})])


@pytest.fixture
def proxy():
    with SocksProxy() as proxy:
        yield proxy


def get(pool, url):
    return pool.get(url, {}).read_all(1 << 20)


@pytest.mark.parametrize("variable", ["ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"])
def test_request_goes_through_the_proxy_that_is_named(hub, pool, proxy, monkeypatch, variable):
    monkeypatch.setenv(variable, f"socks5h://{proxy.address}")
    assert get(pool, hub.url + PATH) == BODY
    origin = Origin.of(hub.url)
    assert proxy.asked == [(IPV4, origin.host, origin.port)]


def test_no_proxy_is_honoured(hub, pool, proxy, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", f"socks5h://{proxy.address}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert get(pool, hub.url + PATH) == BODY
    assert proxy.asked == []


def test_connection_through_the_proxy_is_kept(hub, pool, proxy, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", f"socks5h://{proxy.address}")
    for _ in range(3):
        assert get(pool, hub.url + PATH) == BODY
    assert len(proxy.asked) == 1


def test_socks5h_leaves_names_to_the_proxy(hub, pool, proxy, monkeypatch):
    def no_resolving(host, *args, **options):
        assert host in ("127.0.0.1", b"127.0.0.1"), f"{host!r} was resolved here"
        return real(host, *args, **options)

    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", no_resolving)
    monkeypatch.setenv("ALL_PROXY", f"socks5h://{proxy.address}")
    proxy.behaviour.names["hub.invalid"] = "127.0.0.1"
    port = Origin.of(hub.url).port
    assert get(pool, f"http://hub.invalid:{port}{PATH}") == BODY
    assert proxy.asked == [(NAME, "hub.invalid", port)]


def test_socks5_resolves_names_here(hub, pool, proxy, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", f"socks5://{proxy.address}")
    port = Origin.of(hub.url).port
    assert get(pool, f"http://localhost:{port}{PATH}") == BODY
    assert proxy.asked == [(IPV4, "127.0.0.1", port)]


def test_encrypted_request_goes_through_the_proxy(hub_factory, pool, proxy, monkeypatch):
    hub = hub_factory([Repo("org/name", {"a.txt": BODY})], tls=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(hub.ca_file))
    monkeypatch.setenv("HTTPS_PROXY", f"socks5h://{proxy.address}")
    tls_context.cache_clear()
    try:
        assert get(pool, hub.url + PATH) == BODY
    finally:
        tls_context.cache_clear()
    assert len(proxy.asked) == 1


def test_user_and_password_are_given(hub, pool, proxy, monkeypatch):
    proxy.behaviour = Behaviour(credentials=("ada", "p@ss:word"))
    monkeypatch.setenv("ALL_PROXY", f"socks5h://ada:p%40ss%3Aword@{proxy.address}")
    assert get(pool, hub.url + PATH) == BODY


@pytest.mark.parametrize("user", ["", f"ada:{SECRET}@"])
def test_refused_credentials_are_an_error_without_them(fetch, hub, proxy, monkeypatch, user):
    proxy.behaviour = Behaviour(credentials=("ada", "right"))
    monkeypatch.setenv("ALL_PROXY", f"socks5h://{user}{proxy.address}")
    with pytest.raises(NetworkError, match=r"the proxy socks5h://.* refuses") as caught:
        fetch(hub)
    assert "ALL_PROXY" in caught.value.hint
    assert SECRET not in f"{caught.value}{caught.value.hint}{caught.value.__cause__!r}"


def test_host_that_the_proxy_does_not_reach_is_named_with_the_reason(hub, pool, proxy, monkeypatch):
    proxy.behaviour = Behaviour(reply=4)
    monkeypatch.setenv("ALL_PROXY", f"socks5h://{proxy.address}")
    with pytest.raises(ProxyFailure, match="refuses the connection: Host unreachable"):
        get(pool, hub.url + PATH)


@pytest.mark.parametrize("kind", ["socks5h", "http"])
def test_dead_proxy_is_named(hub, pool, monkeypatch, kind):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("ALL_PROXY", f"{kind}://ada:{SECRET}@127.0.0.1:{port}")
    with pytest.raises(
        ProxyFailure, match=f"the proxy {kind}://127.0.0.1:{port} cannot be"
    ) as caught:
        get(pool, hub.url + PATH)
    assert SECRET not in str(caught.value)


def test_silent_proxy_ends_in_a_timeout(hub, pool, proxy, monkeypatch):
    proxy.behaviour = Behaviour(is_silent=True)
    monkeypatch.setenv("ALL_PROXY", f"socks5h://{proxy.address}")
    started_at = time.monotonic()
    with pytest.raises(ProxyFailure, match="did not connect within"):
        get(pool, hub.url + PATH)
    assert time.monotonic() - started_at < 3


def test_without_the_library_the_command_to_install_it_is_named(hub, pool, monkeypatch):
    real = builtins.__import__

    def importing(name, *args, **options):
        if name.startswith("python_socks"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", importing)
    monkeypatch.setenv("ALL_PROXY", "socks5h://127.0.0.1:1")
    with pytest.raises(EnvironmentFault) as caught:
        get(pool, hub.url + PATH)
    assert (caught.value.hint or "").endswith(" -m pip install python-socks")


def test_model_arrives_through_the_proxy(fetch, hub_factory, is_right, proxy, monkeypatch):
    repo = Repo("org/name", {"config.json": b"{}", "model.gguf": Generated(3 << 20)})
    hub = hub_factory([repo])
    monkeypatch.setenv("ALL_PROXY", f"socks5://{proxy.address}")
    fetch(hub)
    assert is_right(fetch, repo)
    assert proxy.bytes_passed > len(read_content(repo.head.files["model.gguf"].blob.content))


def test_socket_is_closed_when_the_proxy_refuses(hub, pool, proxy, monkeypatch):
    proxy.behaviour = Behaviour(credentials=("ada", "right"))
    monkeypatch.setenv("ALL_PROXY", f"socks5h://{proxy.address}")
    for _ in range(3):
        with pytest.raises(OSError, match="refuses"):
            get(pool, hub.url + PATH)
    gc.collect()  # an open socket would warn, which is an error here
