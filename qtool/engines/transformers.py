"""The transformers engine: (model folder, options, interpreter) to a command line."""

import os
import secrets
from dataclasses import replace
from pathlib import Path

from qtool.engines.base import EngineKind, EngineOptions, Launch
from qtool.engines.context import choose_context
from qtool.engines.interpreters import EnginePython
from qtool.errors import UsageError
from qtool.models.formats import require_complete
from qtool.models.info import ModelInfo
from qtool.models.local import title_of
from qtool.nvidia import has_nvidia_gpu

PROGRAM = Path(__file__).parent / "transformers_server"


def plan_launch(
    info: ModelInfo,
    options: EngineOptions,
    python: EnginePython,
    *,
    free_memory_bytes: int | None = None,
) -> Launch:
    """Return how to serve ``info`` on loopback with a fresh random key.

    Raises:
        QtoolError: files of the model are missing, see ``require_complete``.
        UsageError: the weights are pickled, or more context is asked than the model was made for.
        ResourceError: not even a short context fits into ``free_memory_bytes``.
    """
    require_complete(info)
    _refuse_what_is_not_had(options)
    if not options.is_pickle_trusted:
        _require_safetensors(info)
    # On a GPU RAM does not bound the context; what does not fit there says so itself.
    is_on_cpu = options.n_gpu_layers == 0 or not has_nvidia_gpu(os.environ)
    settings = {
        "model": str(_folder(info).absolute()),
        "alias": title_of(info.path),
        "api_key": secrets.token_urlsafe(32),
        "n_ctx_tokens": choose_context(
            _without_window(info), options.n_ctx_tokens, free_memory_bytes if is_on_cpu else None
        ),
        "n_threads": options.n_threads,
        "device": "cpu" if options.n_gpu_layers == 0 else "auto",
        "trust_remote_code": options.is_code_trusted,
        "allow_pickle": options.is_pickle_trusted,
    }
    flags = ("-I",) if python.is_isolated else ()
    return Launch(EngineKind.TRANSFORMERS, (python.path, *flags, str(PROGRAM)), settings)


def _refuse_what_is_not_had(options: EngineOptions) -> None:
    if options.n_gpu_layers:
        raise UsageError(
            f"--gpu-layers {options.n_gpu_layers}: transformers places the layers itself, as many"
            " on the GPUs as fit",
            hint="--gpu-layers 0 keeps all of them on the processor",
        )
    if options.cache_type is not None:
        raise UsageError(f"--cache-type {options.cache_type} is an option of llama.cpp")
    if options.n_tensor_parallel is not None or options.arguments:
        name = "--engine-arg" if options.arguments else "--tensor-parallel-size"
        raise UsageError(f"{name}: the transformers engine has no such thing", hint="--engine vllm")


def _folder(info: ModelInfo) -> Path:
    return info.path if info.path.is_dir() else info.path.parent


def _without_window(info: ModelInfo) -> ModelInfo:
    """Reckon with every token in every layer: what a sliding window forgets cannot be taken up
    again, so this server keeps it (see ``Network``)."""
    if info.attention is None:
        return info
    return replace(info, attention=replace(info.attention, sliding_window=None))


def _require_safetensors(info: ModelInfo) -> None:
    pickled = [file.name for file in info.files if file.suffix.lower() != ".safetensors"]
    if pickled:
        raise UsageError(
            f"{title_of(info.path)}: {pickled[0]} is a pickle,"
            " which may run any code when it is loaded",
            hint="only if you trust its author: qtool chat … --trust-pickle",
        )
