"""What the making of an environment tells whoever watches."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A step begins: number ``index`` of ``total``, counted from 1."""

    index: int
    total: int
    title: str


@dataclass(frozen=True, slots=True)
class ToolSaid:
    """A line of an installer or probe."""

    line: str


@dataclass(frozen=True, slots=True)
class Noticed:
    """Something that the user should know and need not act upon."""

    text: str


Event = StepStarted | ToolSaid | Noticed
OnEvent = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Watch nothing."""
