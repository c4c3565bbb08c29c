"""The options of every command that runs an engine."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import typer

from qtool.cli.engine_start import EngineRequest
from qtool.config import Config
from qtool.engines.base import EngineKind, EngineOptions
from qtool.engines.cache_types import CacheType
from qtool.errors import UsageError

MAX_COUNT = 2**31 - 1
"""What fits into the engine's 32-bit numbers."""

Model = Annotated[
    str | None,
    typer.Argument(
        help="A GGUF file, a folder with a model, org/name[:QUANT] of a hub, or a starter's name."
    ),
]
Context = Annotated[
    int | None, typer.Option("--ctx", min=16, max=MAX_COUNT, help="Context length in tokens.")
]
GpuLayers = Annotated[int | None, typer.Option(min=0, max=MAX_COUNT, help="Layers on the GPU.")]
Threads = Annotated[
    int | None, typer.Option("--threads", "-t", min=1, max=1024, help="CPU threads of the engine.")
]
Engine = Annotated[EngineKind, typer.Option(help="What runs the model.")]
Python = Annotated[
    str | None,
    typer.Option(
        "--python",
        metavar="PATH",
        help="Interpreter or environment with torch and transformers; default: the active one.",
        show_default=False,
    ),
]
Env = Annotated[
    str | None, typer.Option("--env", help="An environment of `qtool env` to run the engine in.")
]
TrustCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Let Python that comes with the model run.")
]
TrustPickle = Annotated[
    bool, typer.Option("--trust-pickle", help="Load weights that are not safetensors.")
]
Template = Annotated[
    Path | None,
    typer.Option("--template", help="A Jinja chat template in place of the model's own."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Fetch a starter model without asking.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say what runs, why, and how fast.")]


KvCacheType = Annotated[
    CacheType | None,
    typer.Option("--cache-type", help="Numbers of llama.cpp's KV cache: q8_0 halves its memory."),
]
TensorParallel = Annotated[
    int | None,
    typer.Option("--tensor-parallel-size", min=1, max=1024, help="GPUs that share a layer (vLLM)."),
]
EngineArguments = Annotated[
    list[str] | None,
    typer.Option(
        "--engine-arg",
        metavar="ARG",
        help="An argument for llama-server or vLLM as it is (repeatable): --engine-arg=--numa.",
    ),
]
KeepAlive = Annotated[
    str | None,
    typer.Option(
        "--keep-alive",
        metavar="TIME",
        help="Let the engine stay so long for the next conversation: 90s, 10m, 1h.",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class KeepFlags:
    """What becomes of the engine after the conversation."""

    keep_alive: KeepAlive = None


@dataclass(frozen=True, slots=True)
class EngineFlags:
    """What runs, and how."""

    model: Model = None
    ctx: Context = None
    template_file: Template = None
    gpu_layers: GpuLayers = None
    threads: Threads = None
    cache_type: KvCacheType = None
    tensor_parallel: TensorParallel = None
    engine: Engine = EngineKind.AUTO
    arguments: EngineArguments = None
    python: Python = None
    env: Env = None
    is_code_trusted: TrustCode = False
    is_pickle_trusted: TrustPickle = False
    is_agreed: Yes = False
    is_verbose: Verbose = False

    def to_request(
        self,
        config: Config,
        *,
        is_raw: bool = False,
        extra: Mapping[str, Any] = MappingProxyType({}),
    ) -> EngineRequest:
        """Return the request with what the settings say where no option does.

        Raises:
            UsageError: options contradict one another, or the template is none.
            NotFoundError: there is no such template or environment.
        """
        return EngineRequest(
            model=self.model,
            engine=self.engine,
            python=choose_python(self.python, self.env),
            options=EngineOptions(
                config.get("chat.ctx", self.ctx),
                self.gpu_layers,
                self.threads,
                self.is_code_trusted,
                self.is_pickle_trusted,
                cache_type=self.cache_type,
                n_tensor_parallel=self.tensor_parallel,
                arguments=tuple(self.arguments or ()),
            ),
            env=self.env,
            template=_read_template(self.template_file),
            is_raw=is_raw,
            is_agreed=self.is_agreed,
            is_verbose=self.is_verbose,
            extra=extra,
        )


def choose_python(python: str | None, env: str | None) -> str | None:
    """Return the interpreter that ``--python`` or ``--env`` names.

    Raises:
        UsageError: both are given.
        NotFoundError, EnvironmentFault: see ``find_environment``.
    """
    if env is None:
        return python
    if python is not None:
        raise UsageError("--env names an environment, --python another one")
    from qtool.envs.store import find_environment

    return str(find_environment(env).python)


def _read_template(file: Path | None) -> str | None:
    if file is None:
        return None
    from qtool.chat.templates import read_template

    return read_template(file)
