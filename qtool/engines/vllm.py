"""vLLM in an environment of the user's: for GPUs, several of them, and several machines.

Its options: https://docs.vllm.ai/en/latest/serving/openai_compatible_server/
Written against its documents; it was not run on a GPU here.
"""

from qtool.engines.base import EngineKind, EngineOptions, Launch
from qtool.engines.context import choose_context
from qtool.engines.interpreters import EnginePython
from qtool.engines.outside import LISTEN, flag, plan_outside
from qtool.errors import UsageError
from qtool.models.formats import require_complete
from qtool.models.info import ModelFormat, ModelInfo
from qtool.models.local import title_of

MODULE = "vllm.entrypoints.openai.api_server"
HALF_FORMATS = frozenset({ModelFormat.GPTQ, ModelFormat.AWQ})
"""Some of vLLM's kernels for them take float16 alone, and all of them do."""


def plan_launch(info: ModelInfo, options: EngineOptions, python: EnginePython) -> Launch:
    """Return how to serve ``info`` on loopback with a fresh random key.

    vLLM finds the quantization in the checkpoint and chooses the kernel itself. For several
    machines pass its own options on (``--engine-arg=--pipeline-parallel-size=2``) inside a Ray
    cluster: https://docs.vllm.ai/en/latest/serving/parallelism_scaling/

    Raises:
        QtoolError: files of the model are missing, see ``require_complete``.
        UsageError: an option is none of vLLM's, or more context is asked than the model has.
    """
    require_complete(info)
    if options.n_gpu_layers is not None:
        raise UsageError("--gpu-layers: vLLM keeps all layers on the GPUs", hint="--engine auto")
    if options.cache_type is not None:
        raise UsageError(
            "--cache-type names llama.cpp's types", hint="--engine-arg=--kv-cache-dtype=fp8"
        )
    command = (
        *(python.path, *(("-I",) if python.is_isolated else ()), "-m", MODULE),
        *(
            "--model",
            str(info.files[0].parent.absolute()),
            "--served-model-name",
            title_of(info.path),
        ),
        *LISTEN,
        *("--allowed-origins", '["http://127.0.0.1"]'),  # by default every page may ask
        *("--max-model-len", str(choose_context(info, options.n_ctx_tokens, None))),
        *flag("--tensor-parallel-size", options.n_tensor_parallel),
        *flag("--dtype", "float16" if info.format in HALF_FORMATS else None),
        *flag("--load-format", None if options.is_pickle_trusted else "safetensors"),
        *flag("--chat-template", options.chat_template),
        *(("--trust-remote-code",) if options.is_code_trusted else ()),
    )
    return plan_outside(EngineKind.VLLM, command, info, options, key_variable="VLLM_API_KEY")
