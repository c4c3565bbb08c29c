"""``--deep``: import each relevant module for real, in a contained child of its own."""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qtool.doctor.deep.contained import ContainedChild, Ending, Outcome
from qtool.doctor.snapshot import (
    UNKNOWN,
    ImportAttempt,
    ImportEnding,
    Snapshot,
    TorchBuild,
    Unknown,
)

IMPORT_TIMEOUT_S = 120.0
MAX_AT_ONCE = 4
POLL_S = 0.02
SCRIPT = Path(__file__).with_name("import_child.py")
# What a program would import of each distribution. transformers imports nothing before it is
# asked for something, so it is asked for what every program needs.
MODULES: Mapping[str, tuple[str, ...]] = {
    "torch": ("torch",),
    "numpy": ("numpy",),
    "triton": ("triton",),
    "transformers": ("transformers:AutoModelForCausalLM",),
    "accelerate": ("accelerate",),
    "optimum": ("optimum.gptq",),
    "auto-gptq": ("auto_gptq",),
    "gptqmodel": ("gptqmodel",),
    "autoawq": ("awq",),
    "flash-attn": ("flash_attn",),
    "bitsandbytes": ("bitsandbytes",),
    "xformers": ("xformers.ops",),
    "exllamav2": ("exllamav2",),
    "torchvision": ("torchvision",),
    "llama-cpp-python": ("llama_cpp",),
    "xllamacpp": ("xllamacpp",),
    "gguf": ("gguf",),
    "vllm": ("vllm",),
}
_FAULTY_FRAME = re.compile(r'File "[^"\n]*-packages[/\\]([^"\n]+)", line (\d+) in ')
_WITHOUT_TORCH = ("torch", "numpy", "llama_cpp", "xllamacpp", "gguf")


@dataclass(frozen=True, slots=True)
class ImportTask:
    """A module to import, as ``module`` or ``module:attribute``, after torch or not."""

    target: str
    is_after_torch: bool

    @property
    def module(self) -> str:
        """The module alone."""
        return self.target.partition(":")[0]


def plan_imports(snapshot: Snapshot) -> tuple[ImportTask, ...]:
    """Return what to import: of the distributions of interest, and every compiled module. Pure.

    A compiled module inside a package (``llama_cpp/lib/libllama.so``) is loaded by its package.
    """
    dists = {} if snapshot.dists is UNKNOWN else snapshot.dists
    targets = [target for name, some in MODULES.items() if name in dists for target in some]
    compiled = [name for names in snapshot.ext_files.values() for name in names]
    targets += [name for name in compiled if name.isidentifier()]
    has_torch = "torch" in dists
    return tuple(
        ImportTask(target, is_after_torch=has_torch and target not in _WITHOUT_TORCH)
        for target in dict.fromkeys(targets)
    )


def import_all(
    python: str,
    tasks: Sequence[ImportTask],
    environ: Mapping[str, str],
    *,
    n_at_once: int,
    timeout_s: float,
    on_start: Callable[[str], None],
) -> Iterator[tuple[ImportTask, Outcome]]:
    """Import each module in a child of ``python``; yield the outcomes as they come.

    No child outlives the iteration, also if it is broken off.
    """
    waiting = list(tasks)
    running: dict[ImportTask, ContainedChild] = {}
    try:
        while waiting or running:
            while waiting and len(running) < max(1, min(n_at_once, MAX_AT_ONCE)):
                task = waiting.pop(0)
                on_start(task.module)
                running[task] = _start(python, task, environ, timeout_s)
            for task, child in list(running.items()):
                outcome = child.poll()
                if outcome is not None:
                    del running[task]
                    yield task, outcome
            time.sleep(POLL_S)
    finally:
        for child in running.values():
            child.kill()


def _start(
    python: str, task: ImportTask, environ: Mapping[str, str], timeout_s: float
) -> ContainedChild:
    """Start an import that writes no bytecode: looking changes nothing."""
    order = "yes" if task.is_after_torch else "no"
    arguments = [python, "-B", "-X", "faulthandler", str(SCRIPT), task.target, order]
    return ContainedChild(arguments, environ=environ, timeout_s=timeout_s)


def attempt_of(outcome: Outcome) -> ImportAttempt:
    """Return what an outcome says about the import. Pure."""
    ending, detail = _ending_of(outcome)
    return ImportAttempt(
        ending=ending,
        detail=detail,
        where=_place_of(ending, outcome),
        seconds=round(outcome.seconds, 2),
        n_output_bytes=outcome.n_output_bytes,
    )


def _place_of(ending: ImportEnding, outcome: Outcome) -> str:
    """Return the package's line that raised, or that Python's faulthandler saw crash."""
    if ending is ImportEnding.RAISED:
        return str(outcome.report.get("where") or "")
    if ending is not ImportEnding.CRASHED:
        return ""
    frame = _FAULTY_FRAME.search(outcome.tail)
    return f"{frame[1]}:{frame[2]}" if frame else ""


def _ending_of(outcome: Outcome) -> tuple[ImportEnding, str]:
    report = outcome.report
    is_imported = report.get("imported") is True
    before = f"import {report['instead_of']}: " if report.get("instead_of") else ""
    if report.get("imported") is False:
        text = f"{report.get('type')}: {report.get('text') or ''}"
        return ImportEnding.RAISED, before + text.rstrip(": ")
    if is_imported:  # only torch is asked anything afterwards
        before = "asked for its devices: "
    match outcome.ending:
        case Ending.CRASHED:
            return ImportEnding.CRASHED, before + outcome.how
        case Ending.HUNG:
            return ImportEnding.HUNG, before + outcome.how
        case _ if is_imported:
            return ImportEnding.IMPORTED, ""
        case _:
            return ImportEnding.EXITED, before + outcome.how


def look_deeper(
    snapshot: Snapshot,
    environ: Mapping[str, str],
    *,
    timeout_s: float | None = None,
    on_start: Callable[[str], None] = lambda _: None,
) -> Snapshot:
    """Return the snapshot with what real imports in its interpreter tell.

    A Python that does not even answer is not made to import anything.
    """
    if snapshot.interpreter is UNKNOWN or "interpreter" in snapshot.reasons:
        return snapshot
    python, n_cores = snapshot.interpreter.path, snapshot.cpu.n_cores or 1
    tasks = plan_imports(snapshot)
    outcomes = dict(
        import_all(
            python,
            tasks,
            environ,
            n_at_once=n_cores,
            timeout_s=timeout_s or IMPORT_TIMEOUT_S,
            on_start=on_start,
        )
    )
    attempts = {task.module: attempt_of(outcomes[task]) for task in tasks}
    of_torch = next((o.report for t, o in outcomes.items() if t.target == "torch"), {})
    return replace(
        snapshot,
        imports=attempts,
        import_results={name: one.detail for name, one in attempts.items() if one.failed},
        torch=_with_own_words(snapshot.torch, of_torch.get("torch")),
    )


def _with_own_words(
    build: TorchBuild | Unknown | None, said: object
) -> TorchBuild | Unknown | None:
    """Return what torch's files tell and, where they do not, what torch says of itself."""
    if not isinstance(build, TorchBuild) or not isinstance(said, Mapping):
        return build
    archs, abi = said.get("arch_list"), said.get("cxx11_abi")
    return replace(
        build,
        is_cuda_available=_flag(said.get("cuda_available")),
        is_mps_available=_flag(said.get("mps_available")),
        has_cxx11_abi=_flag(abi) if build.has_cxx11_abi is UNKNOWN else build.has_cxx11_abi,
        arch_list=tuple(map(str, archs))
        if isinstance(archs, list) and archs and build.arch_list is UNKNOWN
        else build.arch_list,
    )


def _flag(value: object) -> bool | Unknown:
    return value if isinstance(value, bool) else UNKNOWN
