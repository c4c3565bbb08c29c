"""Pytest fixtures: ``pytest_plugins = ["tests.hub.fixtures"]`` in the top-level conftest."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest

from tests.hub.hub import LoopbackHub
from tests.hub.process import HubProcess
from tests.hub.repository import Repo
from tests.hub.tls import Authority

HubFactory = Callable[..., LoopbackHub]
HubProcessFactory = Callable[..., HubProcess]


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

        def start(repos: Sequence[Repo] = (), **options: Any) -> LoopbackHub:
            hub = LoopbackHub(repos, **with_authority(options, hub_authority))
            return stack.enter_context(hub)

        yield start


@pytest.fixture
def hub_process_factory(hub_authority: Authority) -> Iterator[HubProcessFactory]:
    """The same with hubs in processes of their own, for what measures or loads the hub."""
    with ExitStack() as stack:

        def start(repos: Sequence[Repo] = (), **options: Any) -> HubProcess:
            hub = HubProcess(repos, **with_authority(options, hub_authority))
            return stack.enter_context(hub)

        yield start


def with_authority(options: dict[str, Any], authority: Authority) -> dict[str, Any]:
    return options | {"tls": authority} if options.get("tls") is True else options
