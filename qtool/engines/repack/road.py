"""Whether a model goes through llama.cpp after a repack, and not through transformers."""

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from qtool.engines import llama_cpp
from qtool.engines.base import EngineKind, EngineOptions
from qtool.models.info import ModelFormat, ModelInfo
from qtool.nvidia import has_nvidia_gpu

REPACKED_FORMATS = frozenset({ModelFormat.GPTQ, ModelFormat.AWQ})

Repacker = Callable[[ModelInfo], Path]
"""Returns the GGUF of a model. Raises NotRepackable."""


def wants_repack(
    info: ModelInfo, wanted: EngineKind, options: EngineOptions, python: str | None
) -> bool:
    """Tell whether to repack ``info``: GPTQ and AWQ where there is no GPU, or llama.cpp is asked.

    On a GPU the kernels of transformers are made for these formats. ``python``, an environment
    that the user names, means an engine that lives in one.
    """
    if info.format not in REPACKED_FORMATS or not _is_possible():
        return False
    if wanted is not EngineKind.AUTO:
        return wanted is EngineKind.LLAMA_CPP
    has_gpu = options.n_gpu_layers != 0 and has_nvidia_gpu(os.environ)
    return python is None and not has_gpu


def _is_possible() -> bool:
    return llama_cpp.is_available() and find_spec("gguf") is not None
