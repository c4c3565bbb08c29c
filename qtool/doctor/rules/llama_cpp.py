"""llama-cpp-python: was it built for the GPU, and does it find CUDA's libraries?"""

import re
from collections.abc import Iterator

from qtool.doctor import facts
from qtool.doctor.case import Case
from qtool.doctor.commands import Commands
from qtool.doctor.finding import Finding, Fix, Goal, Severity
from qtool.doctor.fixes import python_is_within, some
from qtool.doctor.llama_programs import by_naming_python, llama_kind, program_words, uses_gpu
from qtool.doctor.proven_sets import proven_set
from qtool.doctor.snapshot import UNKNOWN
from qtool.doctor.versions import parse_capability
from qtool.language.message import say
from qtool.models.info import ModelFormat
from qtool.models.llama_choice import LlamaKind

PACKAGE = "llama-cpp-python"


def cpu_only(case: Case) -> Iterator[Finding]:
    """Warn of a build without GPU offload on a machine with a GPU."""
    files = case.snapshot.ext_files.get(PACKAGE)
    if not case.has(PACKAGE) or not files or not case.gpus:
        return
    marks = facts.fact("llama_cpp", "gpu_library_marks")
    if any(mark in path for path in files for mark in marks):
        return
    yield Finding(
        code="LCPP-CPU-ONLY",
        severity=Severity.WARNING if case.wants(Goal.GGUF) else Severity.INFO,
        title=say(
            "llama-cpp-python {version} is a CPU build; the GPU does nothing",
            version=case.version(PACKAGE),
        ),
        explanation=say(
            "PyPI has llama-cpp-python as source only, and pip compiles it for the CPU unless "
            "CMAKE_ARGS says -DGGML_CUDA=on (the flags of older guides are ignored without a "
            "word). n_gpu_layers then has no effect. pip also reuses the CPU build from its cache "
            "unless told otherwise."
        ),
        evidence=(f"its libraries: {', '.join(files[:6])}", f"GPU: {case.gpus[0].name}"),
        fixes=some(_prebuilt(case), _build(case)),
    )


def _prebuilt(case: Case) -> Fix | None:
    tag = next(
        (
            row["tag"]
            for row in reversed(facts.fact("llama_cpp", "index_tags"))
            if case.driver_runs(row["major"]) is not False and _serves(case, row)
        ),
        None,
    )
    if tag is None or not python_is_within(case, facts.fact("llama_cpp", "index_pythons")):
        return None
    if case.snapshot.os.arch not in ("x86_64", "AMD64", UNKNOWN):
        return None
    url = f"{facts.fact('llama_cpp', 'index_url')}{tag}"
    install = Commands(case).install(
        "--force-reinstall", "--no-cache-dir", "--no-deps", "--only-binary", PACKAGE, PACKAGE,
        "--index-url", url,
    )  # fmt: skip
    return Fix(say("The project's own wheel with CUDA"), (install,))


def _serves(case: Case, row: dict[str, str]) -> bool:
    lowest, highest = (parse_capability(row[key]) or (0, 0) for key in ("lowest", "highest"))
    return all(lowest <= one <= highest for one in case.capabilities)


def _build(case: Case) -> Fix | None:
    if case.snapshot.nvcc is None:
        return None
    install = Commands(case).install("--upgrade", "--force-reinstall", "--no-cache-dir", PACKAGE)
    build = Commands(case).with_variables({"CMAKE_ARGS": "-DGGML_CUDA=on"}, install)
    return Fix(say("Or compile it with CUDA"), (build,))


def cuda_runtime_missing(case: Case) -> Iterator[Finding]:
    """Report a CUDA build that does not find CUDA's runtime libraries."""
    if not case.has(PACKAGE):
        return
    evidence = _missing_runtime(case)
    if not evidence:
        return
    match = re.search(r"lib(?:cudart|cublas\w*)\.so\.(\d+)|cudart64_(\d+)", " ".join(evidence))
    major = next((group for group in match.groups() if group), "12") if match else "12"
    packages = [f"nvidia-cuda-runtime-cu{major[:2]}", f"nvidia-cublas-cu{major[:2]}"]
    if int(major[:2]) >= 13:
        packages = ["nvidia-cuda-runtime", "nvidia-cublas"]
    commands = Commands(case)
    library_path = (
        f"export LD_LIBRARY_PATH=\"$({commands.python} -c 'import os, nvidia; "
        'root = list(nvidia.__path__)[0]; print(":".join(os.path.join(root, d, "lib") '
        "for d in os.listdir(root)))'):$LD_LIBRARY_PATH\""
    )
    yield Finding(
        code="LCPP-CUDART-MISSING",
        severity=case.severity(Goal.GGUF),
        title=say("llama-cpp-python does not find the libraries of CUDA {major}", major=major),
        explanation=say(
            "Its CUDA wheel brings no CUDA: libcudart and libcublas must be where the loader "
            "looks. They come with a CUDA toolkit, or as wheels whose folder has to be named in "
            "LD_LIBRARY_PATH."
        ),
        evidence=evidence,
        fixes=(
            Fix(say("CUDA's libraries as wheels"), (commands.install(*packages), library_path)),
        ),
    )


def _missing_runtime(case: Case) -> tuple[str, ...]:
    results = {} if case.snapshot.import_results is UNKNOWN else case.snapshot.import_results
    seen = [
        f"{name}: {text}"
        for name, text in results.items()
        if "llama" in name and re.search(r"cudart|cublas", text)
    ]
    for module, libraries in case.snapshot.missing_libraries.items():
        cuda = [name for name in libraries if re.match(r"lib(cudart|cublas)", name)]
        if "llama_cpp" in module and cuda:
            seen.append(f"{module} needs {', '.join(cuda)}")
    return tuple(seen)


def gpu_idle(case: Case) -> Iterator[Finding]:
    """Warn that the llama.cpp that qtool takes leaves the GPU idle; a model's verdict says it, too.

    An own llama-cpp-python without the GPU is ``cpu_only``'s.
    """
    kind = llama_kind(case)
    is_known = bool(case.snapshot.llama_cpp) and kind not in (None, LlamaKind.PYTHON)
    if not case.gpus or case.model is not None or not is_known or kind is None:
        return
    if uses_gpu(case, kind) is not False or not case.wants(Goal.GGUF):
        return
    yield Finding(
        code="GGUF-GPU-IDLE",
        severity=Severity.WARNING if case.goal is Goal.GGUF else Severity.INFO,
        title=say("llama.cpp runs on the CPU here; the {gpu} does nothing", gpu=case.gpus[0].name),
        explanation=say(
            "qtool chat would take this one: {how}. It has no code for a GPU and runs every GGUF "
            "several times more slowly than the GPU would. A llama.cpp with CUDA comes with an "
            "environment of qtool's own, or as a llama-server on PATH.",
            how=program_words(case, kind),
        ),
        evidence=(f"GPU: {case.gpus[0].name}", f"llama.cpp: {kind}"),
        fixes=some(by_naming_python(case), proven_set(case, ModelFormat.GGUF)),
    )


RULES = (cpu_only, cuda_runtime_missing, gpu_idle)
