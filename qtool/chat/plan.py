"""From a model on this machine to the engine that will run it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from qtool.chat.templates import fallback_template
from qtool.engines import llama_cpp, llama_server, transformers, vllm
from qtool.engines.base import EngineKind, EngineOptions, Launch, RunningEngine
from qtool.engines.context import llama_cpp_context_warnings
from qtool.engines.gpu_layers import free_vram_bytes
from qtool.engines.interpreters import EnginePython, find_python
from qtool.engines.keeper import EngineKeeper
from qtool.engines.kept.keep import EngineStore
from qtool.engines.llama_program import LlamaChoice, LlamaPrograms, choose_program, plan_program
from qtool.engines.process import EngineProcess
from qtool.engines.repack.refusal import NotRepackable
from qtool.engines.repack.road import Repacker, wants_repack
from qtool.engines.select import Choice, needs_python, select_engine
from qtool.engines.start_failure import explain_failure
from qtool.errors import EnvironmentFault, IntegrityError, QtoolError, UsageError
from qtool.language.message import say
from qtool.models.formats import inspect_model, require_complete
from qtool.models.info import ModelFormat, ModelInfo
from qtool.models.local import LocalModel, title_of
from qtool.models.other_ways import other_way
from qtool.models.refetch import noted_source, refetch_hint
from qtool.models.tokenizer_files import require_tokenizer
from qtool.models.weight_file import REFETCH_HINT
from qtool.nvidia import has_nvidia_gpu
from qtool.ram import read_ram

START_S = 120
"""What an engine may take to start, beyond reading its weights. A chat template that never ends
keeps llama.cpp busy for good: it tries the template out while it loads."""

SLOWEST_DISK_BYTES_PER_S = 20e6


@dataclass(frozen=True, slots=True)
class EngineWish:
    """What is asked of an engine, whatever the model.

    ``python`` names the interpreter or environment for an engine that lives in one, ``env`` the one
    of qtool's environments that it is of, where it was named so; ``repacker``
    makes the GGUF of a model that llama.cpp runs faster. ``template`` takes the place of the
    model's own chat template; where there is neither, the family's usual one serves, unless
    ``is_raw`` says that none is needed. ``store`` has the engines that earlier conversations left.
    ``extra`` settings go to the engine's program.
    """

    kind: EngineKind = EngineKind.AUTO
    options: EngineOptions = EngineOptions()  # noqa: RUF009 - frozen
    python: str | None = None
    env: str | None = None
    template: str | None = None
    is_raw: bool = False
    repacker: Repacker | None = None
    store: EngineStore | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class PlannedEngine:
    """An engine that is not started yet, the reason for it, and warnings about the model.

    ``note`` says which file of a folder was taken, where that is not plain.
    """

    keeper: EngineKeeper
    choice: Choice
    warnings: tuple[str, ...]
    note: str | None = None


def plan_engine(model: LocalModel, wish: EngineWish) -> PlannedEngine:
    """Return the engine for ``model``.

    Raises:
        QtoolError: the model cannot be read, or nothing here runs it.
    """
    try:
        info = inspect_model(model.path, quant=model.quant)
        return replace(_plan_model(info, wish), note=_name_file(model.path, info))
    except IntegrityError as exc:
        if exc.hint != REFETCH_HINT:
            raise
        raise IntegrityError(exc.message, hint=refetch_hint(model.path)) from exc


def _name_file(path: Path, info: ModelInfo) -> str | None:
    """Say which GGUF file of ``path`` is meant, a folder that is nobody's download."""
    is_download = noted_source(path) is not None or title_of(path) != path.name
    if info.format is not ModelFormat.GGUF or not path.is_dir() or is_download:
        return None
    return say("using {file} of the folder {folder}", file=info.files[0].name, folder=path)


def _plan_model(info: ModelInfo, wish: EngineWish) -> PlannedEngine:
    """Return the engine for ``info``: after a repack, where that is better, or as it is."""
    require_complete(info)
    if info.format is not ModelFormat.GGUF and info.files:
        require_tokenizer(info.files[0].parent)
    refusal: NotRepackable | None = None
    if wish.repacker is not None and wants_repack(info, wish.kind, wish.options, wish.python):
        try:
            repacked = inspect_model(wish.repacker(info))
            choice = Choice(EngineKind.LLAMA_CPP, f"repacked without loss as {repacked.path}")
            planned = _plan(repacked, choice, wish, None)
            return replace(planned, warnings=(*info.warnings, *planned.warnings))
        except NotRepackable as exc:
            if wish.kind is EngineKind.LLAMA_CPP:
                raise
            refusal = exc
    is_wanted = needs_python(info) or wish.python is not None
    found = find_python(wish.python, os.environ) if is_wanted else None
    if found is not None and wish.env is not None:
        found = replace(found, why=f"--env {wish.env}")
    planned = _plan(info, _select(info, wish, found, refusal), wish, found)
    if refusal is not None:
        slower = say("{why}; transformers runs it, more slowly", why=refusal.message)
        return replace(planned, warnings=(*planned.warnings, slower))
    return planned


def _plan(
    info: ModelInfo, choice: Choice, wish: EngineWish, python: EnginePython | None
) -> PlannedEngine:
    """Plan the engine that was chosen for ``info``, with a chat template."""
    template, about = _choose_template(info, wish.template, is_raw=wish.is_raw)
    wish = replace(wish, options=replace(wish.options, chat_template=template))
    free_bytes = _free_memory(info, wish.store)
    if choice.kind is EngineKind.TRANSFORMERS and python is not None:
        launch = transformers.plan_launch(info, wish.options, python, free_memory_bytes=free_bytes)
    elif choice.kind is EngineKind.VLLM and python is not None:
        launch = vllm.plan_launch(info, wish.options, python)
    else:
        launch, program = _plan_llama_cpp(info, wish, python, free_bytes)
        choice = replace(choice, why=f"{choice.why}; {program.why}")
        about = (*about, *program.warnings, *llama_cpp_context_warnings(wish.options.n_ctx_tokens))
    own = {"chat_template": template} if template else {}
    launch = replace(launch, settings={**launch.settings, **own, **wish.extra})
    is_in_python = choice.kind is not EngineKind.LLAMA_CPP and python is not None
    keeper = _keep(launch, info, wish, python.path if python and is_in_python else None)
    return PlannedEngine(keeper, choice, (*info.warnings, *about))


def _plan_llama_cpp(
    info: ModelInfo, wish: EngineWish, python: EnginePython | None, free_bytes: int | None
) -> tuple[Launch, LlamaChoice]:
    """Return how to run ``info`` with a llama.cpp that is here, and which one that is."""
    options = wish.options
    if options.n_tensor_parallel is not None:
        raise UsageError(
            say("--tensor-parallel-size: llama.cpp has no such thing"), hint="--engine vllm"
        )
    programs = LlamaPrograms(llama_cpp.is_available(), llama_server.find_program(), python)
    has_gpu = _has_gpu(options)
    choice = choose_program(
        programs,
        is_python_named=wish.python is not None,
        has_gpu=has_gpu,
        has_arguments=bool(options.arguments),
    )
    launch = plan_program(
        choice,
        programs,
        info,
        options,
        free_memory_bytes=free_bytes,
        vram_bytes=free_vram_bytes(os.environ) if has_gpu else None,
    )
    return launch, choice


def _keep(launch: Launch, info: ModelInfo, wish: EngineWish, python: str | None) -> EngineKeeper:
    """Return the keeper of ``launch``, which waits no longer than is sound."""
    size_bytes = sum(path.stat().st_size for path in info.files)
    launch = replace(launch, weights_bytes=size_bytes)
    limit_s = START_S + size_bytes / SLOWEST_DISK_BYTES_PER_S
    store, n_ctx_tokens = wish.store, launch.settings.get("n_ctx_tokens")

    def start(planned: Launch) -> RunningEngine:
        if store is None:
            return EngineProcess(planned)
        return store.start(planned, wish.options, info.files)

    def explain(fault: EnvironmentFault) -> QtoolError:
        return explain_failure(fault, info, n_ctx_tokens, python)

    return EngineKeeper(launch, start, limit_s=limit_s, explain=explain)


def _free_memory(info: ModelInfo, store: EngineStore | None) -> int | None:
    """Return what an engine for ``info`` may take: one that is kept for it gives its memory up."""
    available_bytes = read_ram().available_bytes
    if available_bytes is None or store is None:
        return available_bytes
    return available_bytes + store.reclaimable_bytes(info.files)


def _select(
    info: ModelInfo,
    wish: EngineWish,
    python: EnginePython | None,
    refusal: NotRepackable | None,
) -> Choice:
    """Choose the engine; where there is none, ``refusal`` is a part of the reason, and the hint is
    the doctor's cure."""
    from qtool.doctor.environments import hint_for

    try:
        return select_engine(
            info,
            wish.kind,
            python,
            has_gpu=_has_gpu(wish.options),
            refusal=refusal.message if refusal else None,
        )
    except EnvironmentFault as exc:
        hint = hint_for(info, os.environ) or exc.hint
        if way := other_way(info):
            hint = say("{way}; or: {hint}", way=way, hint=hint) if hint else way
        raise EnvironmentFault(exc.message, hint=hint) from exc


def _has_gpu(options: EngineOptions) -> bool:
    return options.n_gpu_layers != 0 and has_nvidia_gpu(os.environ)


def _choose_template(
    info: ModelInfo, template: str | None, *, is_raw: bool
) -> tuple[str | None, tuple[str, ...]]:
    """Return the template that the engine is to be given, if any, and a warning about it."""
    if template is not None or info.has_chat_template or is_raw:
        return template, ()
    fallback = fallback_template(info.architecture)
    warning = say(
        "{model} has no chat template, as models have that only continue texts; {fallback} stands"
        " in. --template FILE gives another one, --raw does without",
        model=title_of(info.path),
        fallback=fallback.name,
    )
    return fallback.text, (warning,)
