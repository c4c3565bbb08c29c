"""What a conversation needs of whoever shows it. ``ui`` has three."""

from collections.abc import Sequence
from typing import Protocol

from qtool.chat.request import Think
from qtool.chat.stream import Delta
from qtool.chat.turn import Turn
from qtool.engines.base import Progress
from qtool.errors import QtoolError


class Screen(Protocol):
    """Where the user speaks and sees the replies."""

    think: Think
    """What is done with reasoning."""

    is_verbose: bool
    """Whether each reply is followed by its figures."""

    @property
    def columns(self) -> int:
        """How wide a line may be."""
        ...

    @property
    def keeps_going(self) -> bool:
        """Tell whether a failed or stopped turn is followed by the next one."""
        ...

    @property
    def takes_commands(self) -> bool:
        """Tell whether ``/help`` and the like are commands, not something to say to the model."""
        ...

    def words(self, text: str) -> str:
        """Return ``text`` in the user's language."""
        ...

    def read(self, text: str = "") -> str | None:
        """Return the next thing the user says, ``None`` at the end of input.

        ``text`` is put before the user to be edited.
        """
        ...

    def wait_for_engine(self, is_ready: bool, progress: Progress | None = None) -> None:
        """Say that the model is still loading, and how far it is, unless ``is_ready``."""
        ...

    def show(self, delta: Delta) -> None:
        """Show a piece of the reply."""
        ...

    def finish(self, turn: Turn) -> None:
        """End the reply."""
        ...

    def note(self, text: str) -> None:
        """Tell the user about the conversation."""
        ...

    def tell(self, text: str) -> None:
        """Show lines that the user asked for."""
        ...

    def choose(self, question: str, choices: Sequence[str]) -> str | None:
        """Return the one of ``choices`` that the user wants, ``None`` where nobody can be asked."""
        ...

    def copy(self, text: str) -> None:
        """Put ``text`` onto the clipboard."""
        ...

    def fail(self, exc: QtoolError) -> None:
        """Tell the user that a turn failed."""
        ...
