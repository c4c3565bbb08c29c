"""Which of the programs that are llama.cpp runs a GGUF model: pure, and able to say why."""

from dataclasses import dataclass, replace

from qtool.engines import llama_cpp, llama_cpp_python, llama_server
from qtool.engines.base import EngineOptions, Launch
from qtool.engines.cache_types import bytes_per_element
from qtool.engines.context import choose_context
from qtool.engines.gpu_layers import estimate_gpu_layers
from qtool.engines.interpreters import EnginePython
from qtool.engines.llama_cpp_python import PACKAGE
from qtool.errors import EnvironmentFault
from qtool.models.formats import require_complete
from qtool.models.info import ModelInfo
from qtool.models.llama_choice import LlamaKind, choose_llama

ON_PROCESSOR = (
    "the llama.cpp that comes with qtool computes on the processor. For the GPU: a llama-server on"
    " PATH, or qtool env create gguf and --env gguf; --gpu-layers 0 says that this is meant"
)


@dataclass(frozen=True, slots=True)
class LlamaPrograms:
    """What there is: our wheel, a ``llama-server`` on PATH, the environment at hand."""

    has_wheel: bool
    server: str | None = None
    python: EnginePython | None = None

    @property
    def has_python(self) -> bool:
        """Tell whether the environment at hand has llama-cpp-python."""
        return self.python is not None and PACKAGE in self.python.versions


@dataclass(frozen=True, slots=True)
class LlamaChoice:
    """A program and the reason for it, in words for ``qtool chat -v``.

    ``warnings`` are for everybody: what this program leaves unused.
    """

    kind: LlamaKind
    why: str
    warnings: tuple[str, ...] = ()


def choose_program(
    programs: LlamaPrograms, *, is_python_named: bool, has_gpu: bool, has_arguments: bool
) -> LlamaChoice:
    """Choose the program: what the user names, what uses the GPU, what is at hand.

    ``has_arguments``: there are some of the user's own, which need a command line.

    Raises:
        EnvironmentFault: there is none.
    """
    kind = choose_llama(
        has_wheel=programs.has_wheel,
        has_server=programs.server is not None,
        has_python=programs.has_python,
        is_python_named=is_python_named,
        has_gpu=has_gpu,
        has_arguments=has_arguments,
    )
    server, python = programs.server, programs.python
    if kind is LlamaKind.PYTHON and python is not None:
        version = python.versions[PACKAGE]
        return LlamaChoice(kind, f"{PACKAGE} {version} in {python.path} ({python.why})")
    if kind is LlamaKind.WHEEL:
        why = "llama.cpp's server out of the xllamacpp wheel"
        return LlamaChoice(kind, why, (ON_PROCESSOR,) if has_gpu else ())
    if kind is LlamaKind.SERVER:
        return LlamaChoice(kind, f"{server}{_why_server(has_gpu, has_arguments)}")
    raise EnvironmentFault(
        "no llama.cpp here: neither the package xllamacpp, nor llama-server on PATH, nor"
        f" {PACKAGE} in the environment",
        hint="qtool env create gguf, then --env gguf",
    )


def _why_server(has_gpu: bool, has_arguments: bool) -> str:
    if has_gpu:
        return ", for the wheel has no code for a GPU"
    return ", for --engine-arg needs a command line" if has_arguments else " on PATH"


def plan_program(
    choice: LlamaChoice,
    programs: LlamaPrograms,
    info: ModelInfo,
    options: EngineOptions,
    *,
    free_memory_bytes: int | None = None,
    vram_bytes: int | None = None,
) -> Launch:
    """Return how to serve ``info`` with the program that was chosen.

    ``vram_bytes`` are free on the GPUs, where the program uses them: then as many layers as fit go
    there, and RAM does not bound the context.

    Raises:
        QtoolError: files of the model are missing, see ``require_complete``.
        UsageError: more context is asked than the model was made for, or an option is not had.
        ResourceError: not even a short context fits into ``free_memory_bytes``.
    """
    if choice.kind is LlamaKind.WHEEL:
        return llama_cpp.plan_launch(info, options, free_memory_bytes=free_memory_bytes)
    require_complete(info)
    kv_bytes = bytes_per_element(options.cache_type)
    n_ctx_tokens = choose_context(
        info,
        options.n_ctx_tokens,
        free_memory_bytes if vram_bytes is None else None,
        kv_bytes_per_element=kv_bytes,
    )
    if vram_bytes is not None and options.n_gpu_layers is None:
        n_layers = estimate_gpu_layers(
            info, vram_bytes, n_ctx_tokens=n_ctx_tokens, kv_bytes_per_element=kv_bytes
        )
        options = replace(options, n_gpu_layers=n_layers)
    if choice.kind is LlamaKind.PYTHON and programs.python is not None:
        return llama_cpp_python.plan_launch(
            programs.python, info, options, n_ctx_tokens=n_ctx_tokens
        )
    program = programs.server or "llama-server"
    return llama_server.plan_launch(program, info, options, n_ctx_tokens=n_ctx_tokens)
