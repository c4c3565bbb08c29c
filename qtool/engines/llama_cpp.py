"""The llama.cpp engine out of the xllamacpp wheel: (GGUF model, options) to a command line."""

import os
import secrets
import sys
from importlib.util import find_spec

from qtool.engines.base import EngineKind, EngineOptions, Launch
from qtool.engines.cache_types import CacheType, bytes_per_element
from qtool.engines.context import choose_context
from qtool.engines.huge_pages import huge_page_variables
from qtool.errors import EnvironmentFault, UsageError
from qtool.models.formats import require_complete
from qtool.models.info import ModelInfo
from qtool.models.local import title_of

LARGE_PAGES_UP_TO_BYTES = 512 * 2**20
"""Weights up to this size are copied into memory with large pages, larger ones mapped.

Measured with Q4_0 on two cores, against mapping: 118 MB decode 1.3 times as fast and load in the
same time; 725 MB 1.1 times, and load 1.5 s longer; 4.2 GB 1.05 times, and load 7 s longer.
"""


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
        UsageError: more context is asked than the model was made for, or arguments are given.
        ResourceError: not even a short context fits into ``free_memory_bytes``.
    """
    if not is_available():
        raise EnvironmentFault(
            "the llama.cpp engine is not installed (package xllamacpp)",
            hint=f"{sys.executable} -m pip install xllamacpp",
        )
    if options.arguments:
        raise UsageError(
            "--engine-arg: the wheel's llama.cpp has no command line",
            hint="put a llama-server on PATH, which takes them",
        )
    require_complete(info)
    is_small = 0 < info.weights_bytes <= LARGE_PAGES_UP_TO_BYTES
    settings = {
        "model": str(info.files[0].absolute()),
        "is_copied": is_small,
        "alias": title_of(info.path),
        "api_key": secrets.token_urlsafe(32),
        "n_ctx_tokens": choose_context(
            info,
            options.n_ctx_tokens,
            free_memory_bytes,
            kv_bytes_per_element=bytes_per_element(options.cache_type),
        ),
        "n_gpu_layers": options.n_gpu_layers,
        "n_threads": options.n_threads,
        "cache_type": CacheType(options.cache_type).ggml_number if options.cache_type else None,
    }
    variables = huge_page_variables(os.environ) if is_small else {}
    argv = (sys.executable, "-P", "-m", "qtool.engines.llama_cpp_server")
    return Launch(EngineKind.LLAMA_CPP, argv, settings, variables=variables)
