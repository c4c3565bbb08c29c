"""The llama.cpp engine: (GGUF model, options) to a command line."""

import secrets
import sys
from importlib.util import find_spec

from qtool.engines.base import EngineKind, EngineOptions, Launch
from qtool.engines.context import choose_context
from qtool.errors import EnvironmentFault
from qtool.models.formats import require_complete
from qtool.models.info import ModelInfo


def is_available() -> bool:
    """Tell whether the wheel that carries the server is installed beside qtool."""
    return find_spec("xllamacpp") is not None


def plan_launch(
    info: ModelInfo, options: EngineOptions, *, free_memory_bytes: int | None = None
) -> Launch:
    """Return how to serve ``info`` on loopback with a fresh random key.

    Raises:
        EnvironmentFault: the wheel is not installed.
        QtoolError: files of the model are missing, see ``require_complete``.
        UsageError: more context is asked than the model was made for.
        ResourceError: not even a short context fits into ``free_memory_bytes``.
    """
    if not is_available():
        raise EnvironmentFault(
            "the llama.cpp engine is not installed (package xllamacpp)",
            hint=f"{sys.executable} -m pip install xllamacpp",
        )
    require_complete(info)
    settings = {
        "model": str(info.files[0].absolute()),
        "alias": info.path.name,
        "api_key": secrets.token_urlsafe(32),
        "n_ctx_tokens": choose_context(info, options.n_ctx_tokens, free_memory_bytes),
        "n_gpu_layers": options.n_gpu_layers,
        "n_threads": options.n_threads,
    }
    argv = (sys.executable, "-P", "-m", "qtool.engines.llama_cpp_server")
    return Launch(EngineKind.LLAMA_CPP, argv, settings)
