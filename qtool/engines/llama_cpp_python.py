"""``llama_cpp.server`` in an environment of the user's: how many have llama.cpp with CUDA.

Its options are the fields of its settings:
https://github.com/abetlen/llama-cpp-python/blob/main/llama_cpp/server/settings.py
"""

from qtool.engines.base import EngineKind, EngineOptions, Launch
from qtool.engines.cache_types import CacheType
from qtool.engines.interpreters import EnginePython
from qtool.engines.outside import LISTEN, flag, plan_outside
from qtool.errors import EnvironmentFault, UsageError
from qtool.models.info import ModelInfo
from qtool.models.local import title_of

PACKAGE = "llama-cpp-python"
SERVER_PACKAGES = ("fastapi", "uvicorn", "pydantic-settings")


def plan_launch(
    python: EnginePython,
    info: ModelInfo,
    options: EngineOptions,
    *,
    n_ctx_tokens: int,
) -> Launch:
    """Return how to serve ``info``. Unlike llama.cpp, this server puts no layer on a GPU unasked.

    Raises:
        EnvironmentFault: the server's own packages are not there.
        UsageError: a chat template is given, for which the server has no option.
    """
    if missing := [name for name in SERVER_PACKAGES if name not in python.versions]:
        raise EnvironmentFault(
            f"{PACKAGE} in {python.path} has no server: without {', '.join(missing)}",
            hint=f"{python.path} -m pip install '{PACKAGE}[server]'",
        )
    if options.chat_template is not None:
        raise UsageError(
            f"{PACKAGE}'s server takes no chat template but the model's own",
            hint="leave --python out: llama.cpp's own server takes one",
        )
    cache_type = CacheType(options.cache_type) if options.cache_type else None
    command = (
        *(python.path, *(("-I",) if python.is_isolated else ()), "-m", "llama_cpp.server"),
        *("--model", str(info.files[0].absolute()), "--model_alias", title_of(info.path)),
        *LISTEN,
        *("--n_ctx", str(n_ctx_tokens)),
        *flag("--n_gpu_layers", options.n_gpu_layers),
        *flag("--n_threads", options.n_threads),
        *flag("--type_k", cache_type and cache_type.ggml_number),
        *flag("--type_v", cache_type and cache_type.ggml_number),
        *flag("--flash_attn", "true" if cache_type and cache_type.is_quantized else None),
    )
    return plan_outside(
        EngineKind.LLAMA_CPP,
        command,
        info,
        options,
        key_variable="API_KEY",
        ready_path="/v1/models",
    )
