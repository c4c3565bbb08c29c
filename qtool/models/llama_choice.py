"""Which of the programs that are llama.cpp runs a GGUF model.

One decision for two: ``qtool chat`` starts the program, ``qtool doctor`` foretells it. Pure.
"""

from enum import StrEnum


class LlamaKind(StrEnum):
    """Where llama.cpp comes from: our wheel, a program on PATH, a package of an environment."""

    WHEEL = "xllamacpp"
    SERVER = "llama-server"
    PYTHON = "llama-cpp-python"


def choose_llama(
    *,
    has_wheel: bool,
    has_server: bool,
    has_python: bool,
    is_python_named: bool,
    has_gpu: bool,
    has_arguments: bool = False,
) -> LlamaKind | None:
    """Return the program: what the user names, what uses the GPU, what is at hand; else None.

    ``has_python``: the environment at hand has llama-cpp-python; ``is_python_named``: the user
    named that environment. ``has_arguments``: there are some for a command line, which the wheel
    has not. The wheel has no code for a GPU.
    """
    if has_python and is_python_named:
        return LlamaKind.PYTHON
    if has_server and (has_gpu or has_arguments):
        return LlamaKind.SERVER
    if has_wheel:
        return LlamaKind.WHEEL
    if has_server:
        return LlamaKind.SERVER
    return LlamaKind.PYTHON if has_python else None
