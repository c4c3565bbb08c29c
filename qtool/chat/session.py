"""A conversation: its messages, each in the journal before the next step is taken."""

from collections.abc import Sequence
from pathlib import Path

from qtool.chat.history import free_name, save_history, state_of
from qtool.chat.journal import Journal, new_journal
from qtool.chat.messages import Message, Role, drop_oldest


def with_system(
    messages: Sequence[Message], system: str | None, *, fallback: str | None = None
) -> list[Message]:
    """Return ``messages`` headed by the system prompt ``system``, replacing an earlier one.

    Without ``system`` an earlier one stays; where there is none either, ``fallback`` is taken.
    """
    has_own = bool(messages) and messages[0].role is Role.SYSTEM
    if system is None and has_own:
        return list(messages)
    chosen = fallback if system is None else system
    head = [] if chosen is None else [Message(Role.SYSTEM, chosen)]
    return [*head, *messages[int(has_own) :]]


class Session:
    """The messages of one conversation and the places where they are kept.

    ``output`` is the history file written by ``save``; ``None``: the journal alone has it.
    """

    def __init__(
        self,
        journal_folder: Path,
        *,
        model: str,
        messages: Sequence[Message] = (),
        output: Path | None = None,
    ) -> None:
        self.messages = list(messages)
        self.output = output
        self._state_of_output = None if output is None else state_of(output)
        self._folder = journal_folder
        self._model = model
        self._journal: Journal | None = None

    @property
    def journal(self) -> Journal:
        """The journal, created when the first message is added."""
        if self._journal is None:
            self._journal = new_journal(self._folder, model=self._model, messages=self.messages)
        return self._journal

    def add(self, message: Message) -> None:
        """Append ``message``; it is on disk when this returns."""
        self.journal.append(message)
        self.messages.append(message)

    def take_back(self) -> Message:
        """Withdraw the last message: nobody answered it. The journal still has it."""
        self.journal.append_take_back()
        return self.messages.pop()

    def drop_oldest(self, count: int) -> None:
        """Drop the ``count`` oldest messages after the system prompt; the journal has them."""
        self.journal.append_drop(count)
        self.messages = drop_oldest(self.messages, count)

    def save(self) -> Path | None:
        """Write the history file, if one was asked for; return where.

        If somebody else has written it meanwhile, theirs stays and ours gets a name beside it.
        """
        if self.output is None:
            return None
        is_ours = state_of(self.output) == self._state_of_output
        path = self.output if is_ours else free_name(self.output)
        save_history(path, self.messages)
        return path

    def close(self) -> None:
        """Close the journal."""
        if self._journal is not None:
            self._journal.close()

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
