"""The part of a response's headers that is needed of them: looking one up."""

from typing import Protocol


class Headers(Protocol):
    """Response headers; the case of names does not matter (``wire.HeaderFields``)."""

    def get(self, name: str, /) -> str | None:
        """Return a header's value, None when there is no such header."""
