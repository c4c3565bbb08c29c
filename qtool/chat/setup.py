"""What a conversation begins with."""

from collections.abc import Sequence
from pathlib import Path

from qtool.chat.history import check_replaceable, check_writable, load_history
from qtool.chat.journal import last_journal, read_journal, read_last_head
from qtool.chat.messages import Message, Role, with_system
from qtool.chat.request import HistoryFiles
from qtool.chat.session import Session
from qtool.chat.sessions import last_conversation
from qtool.chat.width import shorten
from qtool.errors import NotFoundError
from qtool.language.message import say
from qtool.models.local import LocalModel, title_of
from qtool.models.reference import parse_reference
from qtool.models.starters import find_starter


def open_session(
    model: str,
    state_dir: Path,
    *,
    source: str | None = None,
    files: HistoryFiles,
    system: str | None = None,
    fallback_system: str | None = None,
    earlier: Path | None = None,
    is_prompted: bool = False,
) -> Session:
    """Load what the conversation begins with; make sure that it can be saved.

    ``source`` opens ``model`` again; ``earlier`` is the journal of the conversation to go on with.
    ``is_prompted`` says that one question is asked (``-p``): where it goes on with nothing, it is
    no conversation itself.

    Raises:
        UsageError: the target cannot be written, or is no history file.
        NotFoundError, IntegrityError: see ``load_history``.
    """
    folder = state_dir / "conversations"
    if files.output is not None:
        check_writable(files.output)
        if files.output != files.input:  # which is read, and its damage told, below
            check_replaceable(files.output)
    messages = []
    if earlier is not None:
        messages = read_journal(earlier)
    elif files.input is not None:
        messages = load_history(files.input, may_be_missing=files.may_be_missing)
    is_once = is_prompted and not messages
    messages = with_system(messages, system, fallback=fallback_system)
    return Session(
        folder,
        model=model,
        source=source,
        messages=messages,
        output=files.output,
        is_once=is_once,
    )


def find_earlier(state_dir: Path, *, is_prompted: bool) -> Path:
    """Return the journal of the conversation that ``-c`` goes on with.

    What a question asked by ``-p`` goes on with may be the question before.

    Raises:
        NotFoundError: there is none.
    """
    folder = state_dir / "conversations"
    return last_journal(folder) if is_prompted else last_conversation(folder)


def own_model(earlier: Path) -> str | None:
    """Return what opens the model again that the conversation ``earlier`` was with, if known.

    Raises:
        NotFoundError: it was a file or folder, and is there no more.
    """
    head = read_last_head(earlier)
    path = parse_reference(head.source).path if head.source else None
    if path is not None and not path.exists():
        raise NotFoundError(
            say(
                "this conversation was with {model}, which is no longer at {path}",
                model=head.model,
                path=path,
            ),
            hint=say(
                "qtool chat MODEL -c goes on with another one; qtool models lists what is here"
            ),
        )
    return head.source


def source_of(name: str, model: LocalModel) -> str:
    """Return what opens ``model``, called ``name``, from every folder.

    A starter and what lies in the Hugging Face cache keep their names, all else is its whole path.
    """
    is_named = find_starter(name) is not None or title_of(model.path) != model.path.name
    path = str(model.path.absolute())
    if is_named:
        return name
    return f"{path}:{model.quant}" if model.quant else path


def last_exchange(messages: Sequence[Message], columns: int) -> str:
    """Return the last question and reply, each on a line of at most ``columns``."""
    lines = []
    for message in [m for m in messages if m.role is not Role.SYSTEM][-2:]:
        shown = shorten(message.content, columns - 3)
        lines.append(f"{'>' if message.role is Role.USER else ' '} {shown}")
    return "\n".join(lines)
