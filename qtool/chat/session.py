"""A conversation: its messages, each in the journal before the next step is taken."""

from collections.abc import Sequence
from pathlib import Path

from qtool.chat.context import Relief
from qtool.chat.history import free_name, save_history, state_of
from qtool.chat.journal import Journal, new_journal
from qtool.chat.messages import Message, count_system, replace_system


class Session:
    """The messages of one conversation and the places where they are kept.

    ``output`` is the history file written by ``save``; ``None``: the journal alone has it.
    ``source`` is what opens the model again, ``None`` where nothing does (a server's).
    ``relief`` says what of the messages the model is not given: its context is full. ``is_once``
    marks the journal of a single question, which is no conversation to go on with.
    """

    def __init__(
        self,
        journal_folder: Path,
        *,
        model: str,
        source: str | None = None,
        messages: Sequence[Message] = (),
        output: Path | None = None,
        is_once: bool = False,
    ) -> None:
        self.messages = list(messages)
        self.output = output
        self.relief = Relief()
        self._state_of_output = None if output is None else state_of(output)
        self._folder = journal_folder
        self._is_once = is_once
        self.model = model
        self.source = source
        self._journal: Journal | None = None

    @property
    def journal(self) -> Journal:
        """The journal, created when the first message is added."""
        if self._journal is None:
            self._journal = new_journal(
                self._folder,
                model=self.model,
                source=self.source,
                messages=self.messages,
                is_once=self._is_once,
            )
        return self._journal

    @property
    def journal_path(self) -> Path | None:
        """Where the journal lies, once there is one."""
        return None if self._journal is None else self._journal.path

    @property
    def system(self) -> str | None:
        """The system prompt."""
        return self.messages[0].content if count_system(self.messages) else None

    @property
    def window(self) -> list[Message]:
        """What of the conversation the model is given."""
        return self.relief.apply(self.messages)

    def add(self, message: Message, *, n_replaced: int = 0) -> None:
        """Append ``message`` in place of the last ``n_replaced``; it is on disk on return.

        Raises:
            ResourceError, UsageError: it is not, and nothing has changed.
        """
        self.journal.append(message, n_replaced=n_replaced)
        self._replace_last(n_replaced, [message])

    def take_back(self, count: int = 1) -> list[Message]:
        """Withdraw the last ``count`` messages and return them. The journal still has them.

        Raises:
            ResourceError, UsageError: the disk does not take it, and nothing has changed.
        """
        self.journal.append_take_back(count)
        return self._replace_last(count)

    def settle(self, message: Message, *, n_replaced: int = 0) -> None:
        """Append ``message`` as ``add`` does, whatever the disk says: it was said already.

        Raises:
            ResourceError, UsageError: it is not on disk yet; it will be with the next one.
        """
        try:
            self.journal.append(message, n_replaced=n_replaced, is_owed=True)
        finally:
            self._replace_last(n_replaced, [message])

    def give_up(self, count: int) -> None:
        """Withdraw the last ``count`` messages, whatever the disk says. Raises as ``settle``."""
        try:
            self.journal.append_take_back(count, is_owed=True)
        finally:
            self._replace_last(count)

    def _replace_last(self, count: int, messages: Sequence[Message] = ()) -> list[Message]:
        """Put ``messages`` in place of the last ``count``, and return those."""
        at = len(self.messages) - count
        gone = self.messages[at:]
        self.messages = [*self.messages[:at], *messages]
        self._check_relief()
        return gone

    def relieve(self, relief: Relief) -> None:
        """Give the model no more than ``relief`` leaves of the window; all messages are kept."""
        relief = self.relief.and_then(relief)
        self.journal.append_drop(relief.count, relief.summary)
        self.relief = relief

    def _check_relief(self) -> None:
        """Give the model everything again where what it was given has been withdrawn."""
        if not self.relief.spares_last_turn(self.messages):
            self.relief = Relief()

    def set_system(self, system: str | None) -> None:
        """Replace the system prompt; ``None`` removes it."""
        if self._journal is not None or len(self.messages) > count_system(self.messages):
            self.journal.append_system(system)
        self.messages = replace_system(self.messages, system)

    def set_model(self, model: str, source: str | None) -> None:
        """Go on with the model called ``model``, which ``source`` opens again.

        Raises:
            ResourceError, UsageError: it is not on disk yet; it will be with the next message.
        """
        self.model, self.source = model, source
        if self._journal is not None:
            self._journal.append_model(model, source)

    def begin_anew(self, messages: Sequence[Message]) -> None:
        """Go on with ``messages`` in a journal of their own; the one so far stays as it is."""
        fresh = new_journal(self._folder, model=self.model, source=self.source, messages=messages)
        fresh.begin()
        self.close()
        self._journal, self.messages, self.relief = fresh, list(messages), Relief()

    def save(self) -> Path | None:
        """Write the history file, if one was asked for; return where.

        If somebody else has written it meanwhile, theirs stays and ours gets a name beside it.
        """
        if self.output is None:
            return None
        is_ours = state_of(self.output) == self._state_of_output
        path = self.output if is_ours else free_name(self.output)
        save_history(path, self.messages)
        if is_ours:
            self._state_of_output = state_of(path)
        return path

    def close(self) -> None:
        """Close the journal."""
        if self._journal is not None:
            self._journal.close()

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
