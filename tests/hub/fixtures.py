"""Pytest fixtures: ``pytest_plugins = ["tests.hub.fixtures"]`` in the top-level conftest."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.hub.hub import LoopbackHub
from tests.hub.repository import Repo
from tests.hub.tls import Authority

HubFactory = Callable[..., LoopbackHub]


@pytest.fixture(scope="session")
def hub_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One test CA for all TLS hubs of the session; point SSL_CERT_FILE at its ``ca_file``."""
    return Authority.create(tmp_path_factory.mktemp("hub-ca"))


@pytest.fixture
def hub_factory(hub_authority: Authority) -> Iterator[HubFactory]:
    """Start hubs that end with the test: ``hub_factory([repo], tls=True, latency_s=0.04)``.

    The arguments are those of LoopbackHub. All TLS hubs share ``hub_authority``.
    """
    with ExitStack() as stack:

        def start(repos: list[Repo] | None = None, **options: object) -> LoopbackHub:
            if options.get("tls") is True:
                options["tls"] = hub_authority
            return stack.enter_context(LoopbackHub(repos or [], **options))  # type: ignore[arg-type]

        yield start
