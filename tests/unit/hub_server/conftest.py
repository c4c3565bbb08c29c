"""The hub's fixtures, for when the top-level conftest does not register them."""

from tests.hub.fixtures import hub_authority, hub_factory, hub_process_factory

__all__ = ["hub_authority", "hub_factory", "hub_process_factory"]
