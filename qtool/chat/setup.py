"""What a conversation begins with."""

from collections.abc import Sequence
from pathlib import Path

from qtool.chat.history import check_replaceable, check_writable, load_history
from qtool.chat.journal import last_journal, read_journal
from qtool.chat.messages import Message, Role, with_system
from qtool.chat.request import HistoryFiles
from qtool.chat.session import Session
from qtool.chat.sessions import last_conversation
from qtool.chat.width import shorten


def open_session(
    model: str,
    state_dir: Path,
    *,
    files: HistoryFiles,
    system: str | None = None,
    fallback_system: str | None = None,
    is_continued: bool = False,
    is_prompted: bool = False,
) -> Session:
    """Load what the conversation begins with; make sure that it can be saved.

    ``is_prompted`` says that one question is asked (``-p``): what it goes on with may be the
    question before; where it goes on with nothing, it is no conversation itself.

    Raises:
        UsageError: the target cannot be written, or is no history file.
        NotFoundError, IntegrityError: see ``load_history`` and ``last_journal``.
    """
    folder = state_dir / "conversations"
    if files.output is not None:
        check_writable(files.output)
        if files.output != files.input:  # which is read, and its damage told, below
            check_replaceable(files.output)
    messages = []
    if is_continued:
        last = last_journal if is_prompted else last_conversation
        messages = read_journal(last(folder))
    elif files.input is not None:
        messages = load_history(files.input, may_be_missing=files.may_be_missing)
    is_once = is_prompted and not messages
    messages = with_system(messages, system, fallback=fallback_system)
    return Session(folder, model=model, messages=messages, output=files.output, is_once=is_once)


def last_exchange(messages: Sequence[Message], columns: int) -> str:
    """Return the last question and reply, each on a line of at most ``columns``."""
    lines = []
    for message in [m for m in messages if m.role is not Role.SYSTEM][-2:]:
        shown = shorten(message.content, columns - 3)
        lines.append(f"{'>' if message.role is Role.USER else ' '} {shown}")
    return "\n".join(lines)
