"""The llama.cpp that ``qtool chat`` would take on a machine, and what it computes on. Pure."""

import shlex

from qtool.doctor import facts
from qtool.doctor.case import Case
from qtool.doctor.finding import Fix
from qtool.doctor.probes.interpreter import ASKED_FOR
from qtool.doctor.snapshot import UNKNOWN, Unknown
from qtool.language.message import Message, say
from qtool.models.llama_choice import LlamaKind, choose_llama


def llama_kind(case: Case) -> LlamaKind | None:
    """Return the program that ``qtool chat`` would run a GGUF model with; ``None`` for none."""
    snapshot = case.snapshot
    return choose_llama(
        has_wheel=snapshot.llama_cpp in (LlamaKind.WHEEL, UNKNOWN),
        has_server=bool(snapshot.llama_server) or snapshot.llama_cpp == LlamaKind.SERVER,
        has_python=case.has(LlamaKind.PYTHON),
        is_python_named=_is_python_named(case),
        has_gpu=case.has_driven_gpu,
    )


def _is_python_named(case: Case) -> bool:
    """Tell whether the examined Python is the one that ``qtool chat`` would be told of.

    A snapshot without an interpreter is about its distributions and nothing else.
    """
    interpreter = case.snapshot.interpreter
    return interpreter is UNKNOWN or interpreter.chosen_because == ASKED_FOR


def uses_gpu(case: Case, kind: LlamaKind) -> bool | Unknown:
    """Tell whether a program was built for GPUs; whether there is one is another question."""
    match kind:
        case LlamaKind.WHEEL:
            return False
        case LlamaKind.SERVER:
            server = case.snapshot.llama_server
            if not server or server.gpu_libraries is UNKNOWN:
                return UNKNOWN
            return bool(server.gpu_libraries)
        case LlamaKind.PYTHON:
            marks = facts.fact("llama_cpp", "gpu_library_marks")
            files = case.snapshot.ext_files.get(LlamaKind.PYTHON, ())
            return any(mark in path for path in files for mark in marks)


def program_words(case: Case, kind: LlamaKind) -> Message:
    """Return a program as part of a sentence."""
    match kind:
        case LlamaKind.WHEEL:
            return say("xllamacpp, which qtool brings")
        case LlamaKind.SERVER:
            return say("the llama-server on PATH")
        case LlamaKind.PYTHON:
            return say("llama-cpp-python in this environment")


def by_naming_python(case: Case) -> Fix | None:
    """Return how to use the examined environment's llama-cpp-python, where it is for the GPU and
    ``qtool chat`` takes another program unless told."""
    interpreter = case.snapshot.interpreter
    if not case.gpus or not case.has(LlamaKind.PYTHON) or interpreter is UNKNOWN:
        return None
    if llama_kind(case) is LlamaKind.PYTHON or not uses_gpu(case, LlamaKind.PYTHON):
        return None
    model = shlex.quote(str(case.model.path)) if case.model else "MODEL"
    command = f"qtool chat {model} --python {shlex.quote(interpreter.path)}"
    return Fix(say("The llama-cpp-python of the examined environment uses the GPU"), (command,))
