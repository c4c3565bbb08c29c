"""The llama.cpp engine: (GGUF model, options) to a command line."""

import secrets
import shlex
import sys
from importlib.util import find_spec

from qtool.engines.base import EngineKind, EngineOptions, Launch
from qtool.errors import EnvironmentFault, ResourceError, UsageError
from qtool.models.formats import require_complete
from qtool.models.info import ModelInfo
from qtool.models.memory import DEFAULT_CONTEXT_TOKENS, estimate_memory, largest_context
from qtool.units import format_size

MINIMUM_CONTEXT_TOKENS = 512
"""Less than this is no conversation."""

SMALLEST_CONTEXT_TOKENS = 16
"""Less than this the engine does not serve."""

MEMORY_SHARE = 0.8
"""How much of the free memory a model with its KV cache may take by default."""


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


def choose_context(info: ModelInfo, wanted_tokens: int | None, free_bytes: int | None) -> int:
    """Return the context length to serve: what is asked, else what the model and memory allow.

    Raises:
        UsageError: ``wanted_tokens`` is more than the model was trained for.
        ResourceError: it does not fit into ``free_bytes``.
    """
    trained = info.context_length_tokens
    if wanted_tokens is not None and wanted_tokens < SMALLEST_CONTEXT_TOKENS:
        raise UsageError(f"a context of {wanted_tokens} tokens is no context", hint="--ctx 4096")
    if wanted_tokens is not None and trained is not None and wanted_tokens > trained:
        raise UsageError(
            f"--ctx {wanted_tokens}: {info.path.name} was made for at most {trained} tokens",
            hint=f"--ctx {trained}",
        )
    context = wanted_tokens or min(trained or DEFAULT_CONTEXT_TOKENS, DEFAULT_CONTEXT_TOKENS)
    if free_bytes is None:
        return context
    fitting = largest_context(info, int(free_bytes * MEMORY_SHARE)) or 0
    if fitting >= context:
        return context
    if wanted_tokens is not None or fitting < MINIMUM_CONTEXT_TOKENS:
        raise _does_not_fit(info, context, fitting, free_bytes)
    return fitting


def _does_not_fit(info: ModelInfo, context: int, fitting: int, free_bytes: int) -> ResourceError:
    need = estimate_memory(info, n_ctx_tokens=context).total_bytes
    enough = fitting >= MINIMUM_CONTEXT_TOKENS
    return ResourceError(
        f"{info.path.name} with a context of {context} tokens needs {format_size(need)} of memory;"
        f" {format_size(free_bytes)} are free",
        hint=f"--ctx {fitting}" if enough else f"qtool doctor {shlex.quote(str(info.path))}",
    )
