"""What every engine is to the rest of the program.

An adapter turns (model, options) into a ``Launch``; ``process.EngineProcess`` runs it; what comes
out is an ``Endpoint`` that ``chat.client`` talks to. Standard streams of an engine's program:

- stdin: one JSON line, its settings (the API key among them, so that it never shows in a process
  list). The pipe then stays open; its end means that the parent is gone, and the engine dies.
- stdout: one JSON line once it is ready, ``{"url": "http://127.0.0.1:PORT"}``. Before that there
  may be ``{"progress": {"stage": "weights", "fraction": 0.4}}`` and, at a failure,
  ``{"error": {"type": …, "message": …}}``.
- stderr: its log.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from qtool.errors import EnvironmentFault
from qtool.language.message import say


class EngineKind(StrEnum):
    """The engines that qtool drives, by the names of ``--engine``."""

    AUTO = "auto"
    LLAMA_CPP = "llama.cpp"
    TRANSFORMERS = "transformers"
    VLLM = "vllm"


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What a user may ask of any engine. ``None`` leaves it to the engine.

    ``n_ctx_tokens`` is the context length, ``n_gpu_layers`` how many layers go to the GPU.
    ``is_code_trusted`` lets Python that comes with the model run, ``is_pickle_trusted`` weights
    load that are not safetensors. ``cache_type`` is llama.cpp's name for the numbers of the KV
    cache; ``n_tensor_parallel`` how many GPUs share a layer. ``chat_template`` takes the place of
    the model's own; ``arguments`` go to the engine's program as they are.
    """

    n_ctx_tokens: int | None = None
    n_gpu_layers: int | None = None
    n_threads: int | None = None
    is_code_trusted: bool = False
    is_pickle_trusted: bool = False
    cache_type: str | None = None
    n_tensor_parallel: int | None = None
    chat_template: str | None = field(default=None, repr=False)
    arguments: tuple[str, ...] = ()


CHAT_TEMPLATE = "chat template"
"""The stage in which an engine tries the template that comes with the model."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What an engine does while it starts; ``fraction`` of this stage is done."""

    stage: str
    fraction: float

    def describe(self) -> str:
        """Return ``weights 40%``, or the stage alone where nothing of it is known to be done."""
        stage = _STAGES.get(self.stage, self.stage)
        if self.fraction <= 0:
            return stage
        return say("{stage} {fraction:.0%}", stage=stage, fraction=self.fraction)


_STAGES = {CHAT_TEMPLATE: say("chat template"), "weights": say("weights")}
"""Those that are no names, but words."""


def describe_loading(progress: Progress | None) -> str:
    """Say that the model is loading, and how far it is."""
    if progress is None:
        return say("loading the model …")
    return say("loading the model: {progress} …", progress=progress.describe())


OnWait = Callable[[Progress | None], None]
"""Is told several times a second what an engine does that is waited for."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start an engine: its program and the settings written to its stdin.

    ``weights_bytes`` is what it has to read; zero is unknown. ``variables`` are added to its
    environment.
    """

    kind: EngineKind
    argv: tuple[str, ...]
    settings: Mapping[str, Any] = field(repr=False)
    weights_bytes: int = 0
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server that speaks the OpenAI API. ``url`` has no ``/v1`` and no trailing slash."""

    url: str
    api_key: str = field(repr=False)
    model: str
    engine: str


class RunningEngine(Protocol):
    """An engine that was started: by us, or by an earlier conversation."""

    @property
    def pid(self) -> int:
        """Its process id."""
        ...

    @property
    def is_ready(self) -> bool:
        """Tell whether a request would be answered at once."""
        ...

    @property
    def has_crashed(self) -> bool:
        """Tell whether it was ready once and is gone now."""
        ...

    @property
    def progress(self) -> Progress | None:
        """What it does while it starts, if that is known."""
        ...

    def wait_until_ready(self, timeout_s: float | None = None) -> Endpoint | None:
        """Wait for it; ``None`` when ``timeout_s`` passes before that.

        Raises:
            EnvironmentFault: it ended instead.
        """
        ...

    def find_loss(self, patience_s: float) -> EnvironmentFault | None:
        """Return how it ended in mid-reply; ``None`` where it did not, or nobody knows."""
        ...

    def stop(self) -> None:
        """Be done with it: end it, unless it was to stay. May be called twice."""
        ...

    def kill(self) -> None:
        """End it, also where it was to stay: it is of no use any more."""
        ...
