"""llama.cpp's own ``llama-server``, where the user has one: built for their GPU, for example.

Its options: https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md
"""

import shutil

from qtool.engines.base import EngineKind, EngineOptions, Launch
from qtool.engines.outside import LISTEN, flag, plan_outside
from qtool.models.info import ModelInfo
from qtool.models.local import title_of


def find_program() -> str | None:
    """Return where ``llama-server`` is on PATH."""
    return shutil.which("llama-server")


def plan_launch(
    program: str, info: ModelInfo, options: EngineOptions, *, n_ctx_tokens: int
) -> Launch:
    """Return how to serve ``info`` with ``program``."""
    command = (
        *(program, "--model", str(info.files[0].absolute()), "--alias", title_of(info.path)),
        *LISTEN,
        *("--ctx-size", str(n_ctx_tokens), "--parallel", "1", "--jinja"),
        *flag("--n-gpu-layers", options.n_gpu_layers),
        *flag("--threads", options.n_threads),
        *flag("--cache-type-k", options.cache_type),
        *flag("--cache-type-v", options.cache_type),
        *flag("--chat-template", options.chat_template),
    )
    return plan_outside(EngineKind.LLAMA_CPP, command, info, options, key_variable="LLAMA_API_KEY")
