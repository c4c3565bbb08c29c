"""From a request to a conversation that can begin."""

from collections.abc import Sequence
from pathlib import Path

from qtool.chat.history import check_writable, load_history
from qtool.chat.journal import last_journal, read_journal
from qtool.chat.messages import Message, Role
from qtool.chat.request import HistoryFiles
from qtool.chat.session import Session, with_system
from qtool.engines.base import EngineKind, EngineOptions
from qtool.engines.keeper import EngineKeeper
from qtool.engines.llama_cpp import plan_launch
from qtool.engines.select import Choice, select_engine
from qtool.models.formats import inspect_model
from qtool.models.local import LocalModel
from qtool.ram import read_ram


def plan_engine(
    model: LocalModel, wanted: EngineKind, options: EngineOptions
) -> tuple[EngineKeeper, Choice, tuple[str, ...]]:
    """Return the engine for ``model`` (not started), the reason for it, and warnings.

    Raises:
        QtoolError: the model cannot be read, or nothing here runs it.
    """
    info = inspect_model(model.path, quant=model.quant)
    choice = select_engine(info, wanted)
    launch = plan_launch(info, options, free_memory_bytes=read_ram().available_bytes)
    warnings = list(info.warnings)
    if not info.has_chat_template:
        warnings.append(f"{model.path.name} has no chat template; llama.cpp falls back to ChatML")
    return EngineKeeper(launch), choice, tuple(warnings)


def open_session(
    model: str,
    state_dir: Path,
    *,
    files: HistoryFiles,
    system: str | None = None,
    fallback_system: str | None = None,
    is_continued: bool = False,
) -> Session:
    """Load what the conversation begins with; make sure that it can be saved.

    Raises:
        UsageError: the target cannot be written.
        NotFoundError, IntegrityError: see ``load_history`` and ``last_journal``.
    """
    folder = state_dir / "conversations"
    if files.output is not None:
        check_writable(files.output)
    messages = []
    if is_continued:
        messages = read_journal(last_journal(folder))
    elif files.input is not None:
        messages = load_history(files.input, may_be_missing=files.may_be_missing)
    messages = with_system(messages, system, fallback=fallback_system)
    return Session(folder, model=model, messages=messages, output=files.output)


def last_exchange(messages: Sequence[Message], *, width: int = 76) -> str:
    """Return the last question and reply, each on a line of at most ``width`` characters."""
    lines = []
    for message in [m for m in messages if m.role is not Role.SYSTEM][-2:]:
        text = " ".join(message.content.split())
        shown = text if len(text) <= width else f"{text[: width - 2]} …"
        lines.append(f"{'>' if message.role is Role.USER else ' '} {shown}")
    return "\n".join(lines)
