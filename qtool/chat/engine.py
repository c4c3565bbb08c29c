"""What a conversation needs of whoever answers."""

from typing import Protocol

from qtool.engines.base import Endpoint, OnWait
from qtool.errors import QtoolError


class Engine(Protocol):
    """Who answers: an engine that is kept running, or a server elsewhere."""

    @property
    def is_ready(self) -> bool:
        """Tell whether a request would be answered at once."""
        ...

    def endpoint(self, on_wait: OnWait | None = None) -> Endpoint:
        """Wait until it is ready; say where it listens."""
        ...

    def explain_loss(self, loss: QtoolError) -> QtoolError:
        """Return why a reply broke off with ``loss``, or that itself."""
        ...

    def stop(self) -> None:
        """End it, if it is ours to end and not to stay."""
        ...

    def kill(self) -> None:
        """End it, if it is ours: it is of no use any more."""
        ...
