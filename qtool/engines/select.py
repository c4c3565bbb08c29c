"""Which engine runs a model: pure, and able to say why."""

import shlex
from dataclasses import dataclass

from qtool.engines.base import EngineKind
from qtool.errors import EnvironmentFault
from qtool.models.info import ModelFormat, ModelInfo


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine and the reason for it, in words for ``qtool chat -v``."""

    kind: EngineKind
    why: str


def select_engine(info: ModelInfo, wanted: EngineKind = EngineKind.AUTO) -> Choice:
    """Choose the engine for ``info``.

    Raises:
        EnvironmentFault: no engine of this version runs the model's format.
    """
    if info.format is ModelFormat.GGUF:
        why = "GGUF is llama.cpp's own format"
        return Choice(EngineKind.LLAMA_CPP, why if wanted is EngineKind.AUTO else "asked for")
    raise EnvironmentFault(
        f"{info.path} is a {info.format} model; this version of qtool converses with GGUF models",
        hint=f"qtool doctor {shlex.quote(str(info.path))}",
    )
