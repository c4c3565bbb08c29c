"""What qtool asks of a program that fetches bytes in its place."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from qtool.download.request import DownloadRequest
from qtool.errors import QtoolError
from qtool.hub.proxies import Proxy


class ProgramFailure(Exception):
    """A program ended without the file, or came to a standstill; it may be tried again."""


@dataclass(frozen=True, slots=True)
class Order:
    """One file to fetch. ``url`` may be a signed link, hence a secret; it needs no token."""

    url: str = field(repr=False)
    target: Path
    size_bytes: int
    connections: int
    rate_limit_bytes_per_s: float | None = None
    proxy: Proxy | None = None


class Program(Protocol):
    """A program. It gets what is secret by stdin or environment, never by its arguments."""

    can_resume: bool

    def check(self, request: DownloadRequest) -> None:
        """Raise EnvironmentFault when it is not installed, UsageError for what it cannot do."""

    def command(self, order: Order) -> list[str]:
        """Return its command line."""

    def environment(self, order: Order) -> dict[str, str]:
        """Return what its environment holds on top of the user's."""

    def instructions(self, order: Order) -> bytes:
        """Return what is written to its stdin."""

    def explain(self, returncode: int, output: str, order: Order) -> QtoolError | str:
        """Return why it failed: an error that no retry cures, or the reason in words."""
