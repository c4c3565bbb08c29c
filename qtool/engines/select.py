"""Which engine runs a model: pure, and able to say why."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qtool.engines.base import EngineKind
from qtool.engines.interpreters import EnginePython
from qtool.errors import EnvironmentFault, UsageError
from qtool.language.message import Message, say, together
from qtool.models.info import ModelFormat, ModelInfo
from qtool.models.loaders import INT4_FORMATS, INT4_TORCH, LOADERS, MINIMUM_TRANSFORMERS
from qtool.models.local import title_of


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine and the reason for it, in words for ``qtool chat -v``."""

    kind: EngineKind
    why: str


def needs_python(info: ModelInfo) -> bool:
    """Tell whether the engine for ``info`` lives in an environment that has to be found first."""
    return info.format is not ModelFormat.GGUF


def select_engine(
    info: ModelInfo,
    wanted: EngineKind = EngineKind.AUTO,
    python: EnginePython | None = None,
    *,
    has_gpu: bool = True,
    refusal: str | None = None,
) -> Choice:
    """Choose the engine for ``info``; ``python`` is what the environment at hand has.

    Where there is no GPU (``has_gpu``) GPTQ and AWQ need torch alone. ``refusal`` says why
    llama.cpp does not run it, repacked.

    Raises:
        UsageError: the engine that is asked for does not run the model's format.
        EnvironmentFault: no engine runs it here; says what is missing where.
    """
    if info.format is ModelFormat.GGUF:
        if wanted in (EngineKind.TRANSFORMERS, EngineKind.VLLM):
            raise UsageError(
                say(
                    "{model} is GGUF, which {engine} would unpack to several times its size",
                    model=title_of(info.path),
                    engine=wanted,
                ),
                hint=f"qtool chat {shlex.quote(str(info.path))}",
            )
        why = "GGUF is llama.cpp's own format"
        return Choice(EngineKind.LLAMA_CPP, why if wanted is EngineKind.AUTO else "asked for")
    if wanted is EngineKind.LLAMA_CPP:
        raise UsageError(
            say(
                "{model} is a {format} model; llama.cpp runs GGUF alone",
                model=title_of(info.path),
                format=info.format,
            ),
            hint=f"qtool chat {shlex.quote(str(info.path))}",
        )
    if wanted is EngineKind.VLLM:
        return _vllm(info, python, "asked for")
    return _transformers(info, python, wanted, has_gpu=has_gpu, refusal=refusal)


def _vllm(info: ModelInfo, python: EnginePython | None, why: str) -> Choice:
    if python is None or "vllm" not in python.versions:
        raise EnvironmentFault(
            say(
                "there is no vLLM{where} for {model}",
                where=_where(python),
                model=title_of(info.path),
            ),
            hint=say("qtool env create vllm, then --env vllm"),
        )
    return Choice(EngineKind.VLLM, f"vllm {python.versions['vllm']} in {python.path}: {why}")


def _transformers(
    info: ModelInfo,
    python: EnginePython | None,
    wanted: EngineKind,
    *,
    has_gpu: bool,
    refusal: str | None,
) -> Choice:
    if python is None or (missing := missing_packages(info, python.versions, has_gpu=has_gpu)):
        if python and has_gpu and "vllm" in python.versions and wanted is EngineKind.AUTO:
            return _vllm(info, python, f"transformers would need {' and '.join(missing)}")
        lack = _lack(python, missing) if python else None
        raise EnvironmentFault(
            together(filter(None, (_nothing_runs(info), refusal, lack)), "\n  "),
            hint=say(
                "qtool doctor {model}, then --python ENVIRONMENT", model=shlex.quote(str(info.path))
            ),
        )
    version = python.versions["transformers"]
    why = f"transformers {version} in {python.path} ({python.why}) loads {info.format} models"
    if _is_int4(info, python.versions, has_gpu=has_gpu):
        why += f"; torch {python.versions['torch']} computes with their codes on the processor"
    return Choice(EngineKind.TRANSFORMERS, why)


def _nothing_runs(info: ModelInfo) -> Message:
    name = title_of(info.path)
    if info.format is ModelFormat.PLAIN:
        return say("{model} is an unquantized model, and nothing runs it here", model=name)
    return say(
        "{model} is in the format {format}, and nothing runs it here",
        model=name,
        format=info.format.upper(),
    )


def _lack(python: EnginePython, missing: Sequence[str]) -> Message:
    return say(
        "missing in {python}, {why}: {names}",
        python=python.path,
        why=python.why,
        names=", ".join(missing),
    )


def _where(python: EnginePython | None) -> str:
    if python is None:
        return ""
    return say(" in {python} ({why})", python=python.path, why=python.why)


def missing_packages(
    info: ModelInfo, versions: Mapping[str, str], *, has_gpu: bool
) -> tuple[str, ...]:
    """Return what ``versions`` lack to run ``info`` through transformers."""
    missing = [name for name in ("torch", "transformers") if name not in versions]
    if not missing and not _is_recent(versions["transformers"], MINIMUM_TRANSFORMERS):
        missing.append(f"transformers {MINIMUM_TRANSFORMERS} or newer")
    if _is_int4(info, versions, has_gpu=has_gpu):
        return tuple(missing)
    absent = [names for names in LOADERS.get(info.format, ()) if names.isdisjoint(versions)]
    return (*missing, *(" or ".join(sorted(names, reverse=True)) for names in absent))


def _is_int4(info: ModelInfo, versions: Mapping[str, str], *, has_gpu: bool) -> bool:
    """Tell whether torch alone computes with the codes, the one that is there or would come."""
    is_packed = info.format in INT4_FORMATS and not has_gpu
    return is_packed and ("torch" not in versions or _is_recent(versions["torch"], INT4_TORCH))


def _is_recent(version: str, minimum: str) -> bool:
    return _numbers(version) >= _numbers(minimum)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
