"""From a request to a conversation that can begin."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from qtool.chat.history import check_writable, load_history
from qtool.chat.journal import last_journal, read_journal
from qtool.chat.messages import Message, Role, with_system
from qtool.chat.request import HistoryFiles
from qtool.chat.session import Session
from qtool.chat.templates import fallback_template
from qtool.chat.width import shorten
from qtool.engines import llama_cpp, transformers
from qtool.engines.base import EngineKind, EngineOptions, Launch
from qtool.engines.interpreters import EnginePython, find_python
from qtool.engines.keeper import EngineKeeper
from qtool.engines.repack.refusal import NotRepackable
from qtool.engines.repack.road import Repacker, wants_repack
from qtool.engines.select import Choice, needs_python, select_engine
from qtool.errors import EnvironmentFault
from qtool.models.formats import inspect_model
from qtool.models.info import ModelInfo
from qtool.models.local import LocalModel
from qtool.ram import read_ram

START_S = 120
"""What an engine may take to start, beyond reading its weights. A chat template that never ends
keeps llama.cpp busy for good: it tries the template out while it loads."""

SLOWEST_DISK_BYTES_PER_S = 20e6


def plan_engine(
    model: LocalModel,
    wanted: EngineKind,
    options: EngineOptions,
    python: str | None = None,
    repacker: Repacker | None = None,
    *,
    template: str | None = None,
    is_raw: bool = False,
    extra: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[EngineKeeper, Choice, tuple[str, ...]]:
    """Return the engine for ``model`` (not started), the reason for it, and warnings.

    ``python`` names the interpreter or environment for an engine that lives in one; ``repacker``
    makes the GGUF of a model that llama.cpp runs faster. ``template`` takes the place of the
    model's own chat template; where there is neither, the family's usual one serves, unless
    ``is_raw`` says that none is needed. ``extra`` settings go to the engine's program.

    Raises:
        QtoolError: the model cannot be read, or nothing here runs it.
    """
    info = inspect_model(model.path, quant=model.quant)
    refusal: NotRepackable | None = None
    if repacker is not None and wants_repack(info, wanted, options, python):
        try:
            repacked = inspect_model(repacker(info))
            choice = Choice(EngineKind.LLAMA_CPP, f"repacked without loss as {repacked.path}")
            template, about = _choose_template(repacked, template, is_raw=is_raw)
            keeper = _keeper(_plan_llama_cpp(repacked, options), repacked, template, extra)
            return keeper, choice, (*info.warnings, *about)
        except NotRepackable as exc:
            if wanted is EngineKind.LLAMA_CPP:
                raise
            refusal = exc
    found = find_python(python, os.environ) if needs_python(info) else None
    choice = _select(info, wanted, found, refusal)
    template, about = _choose_template(info, template, is_raw=is_raw)
    warnings = (*info.warnings, *about)
    if choice.kind is EngineKind.TRANSFORMERS and found is not None:
        free_bytes = read_ram().available_bytes
        launch = transformers.plan_launch(info, options, found, free_memory_bytes=free_bytes)
    else:
        launch = _plan_llama_cpp(info, options)
    if refusal is not None:
        warnings = (*warnings, f"{refusal.message}; transformers runs it, more slowly")
    return _keeper(launch, info, template, extra), choice, warnings


def _keeper(
    launch: Launch, info: ModelInfo, template: str | None, extra: Mapping[str, Any]
) -> EngineKeeper:
    """Return the keeper of ``launch`` with ``template``, which waits no longer than is sound."""
    own = {"chat_template": template} if template else {}
    settings = {**launch.settings, **own, **extra}
    size_bytes = sum(path.stat().st_size for path in info.files)
    limit_s = START_S + size_bytes / SLOWEST_DISK_BYTES_PER_S
    launch = replace(launch, settings=settings, weights_bytes=size_bytes)
    return EngineKeeper(launch, limit_s=limit_s)


def _select(
    info: ModelInfo,
    wanted: EngineKind,
    python: EnginePython | None,
    refusal: NotRepackable | None,
) -> Choice:
    """Choose the engine; where there is none, ``refusal`` is a part of the reason."""
    try:
        return select_engine(info, wanted, python)
    except EnvironmentFault as exc:
        if refusal is None:
            raise
        raise EnvironmentFault(f"{exc.message}; {refusal.message}", hint=exc.hint) from exc


def _plan_llama_cpp(info: ModelInfo, options: EngineOptions) -> Launch:
    return llama_cpp.plan_launch(info, options, free_memory_bytes=read_ram().available_bytes)


def _choose_template(
    info: ModelInfo, template: str | None, *, is_raw: bool
) -> tuple[str | None, tuple[str, ...]]:
    """Return the template that the engine is to be given, if any, and a warning about it."""
    if template is not None or info.has_chat_template or is_raw:
        return template, ()
    fallback = fallback_template(info.architecture)
    warning = (
        f"{info.path.name} has no chat template, as models have that only continue texts;"
        f" {fallback.name} stands in. --template FILE gives another one, --raw does without"
    )
    return fallback.text, (warning,)


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


def last_exchange(messages: Sequence[Message], columns: int) -> str:
    """Return the last question and reply, each on a line of at most ``columns``."""
    lines = []
    for message in [m for m in messages if m.role is not Role.SYSTEM][-2:]:
        shown = shorten(message.content, columns - 3)
        lines.append(f"{'>' if message.role is Role.USER else ' '} {shown}")
    return "\n".join(lines)
