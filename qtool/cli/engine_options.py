"""The options of every command that runs an engine."""

from pathlib import Path
from typing import Annotated

import typer

from qtool.engines.base import EngineKind
from qtool.errors import UsageError

MAX_COUNT = 2**31 - 1
"""What fits into the engine's 32-bit numbers."""

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
