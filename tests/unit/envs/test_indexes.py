"""An index counts as there if it answers with a page; the user's own is never asked."""

import http.server
import threading
import time
from collections.abc import Iterator

import pytest

from qtool.envs.indexes import first_reachable, is_reachable


class Index(http.server.BaseHTTPRequestHandler):
    """Has torch, has nothing else, and never answers for slow things."""

    def do_GET(self) -> None:
        if self.path.startswith("/slow"):
            time.sleep(1)
        self.send_response(200 if self.path == "/cpu/torch/" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_first_that_has_the_package_is_taken(url: str) -> None:
    assert first_reachable((f"{url}/none", f"{url}/cpu/", None), "torch") == f"{url}/cpu/"
    assert first_reachable((f"{url}/none", f"{url}/cpu"), "vllm") is None


def test_one_that_takes_too_long_is_not_waited_for(url: str) -> None:
    started_at = time.monotonic()

    assert not is_reachable(f"{url}/slow/torch/", 0.1)
    assert time.monotonic() - started_at < 0.9


@pytest.mark.parametrize("address", ["ftp://host/x", "nonsense", "http://", "file:///nowhere/x"])
def test_addresses_of_other_kinds_are_not_there(address: str) -> None:
    assert not is_reachable(address, 1)
