"""gptqmodel: the transformers it goes with, how its kernels come about, which GPU they need."""

from collections.abc import Iterator

from qtool.doctor import facts
from qtool.doctor.case import Case
from qtool.doctor.commands import Commands
from qtool.doctor.finding import Confidence, Finding, Fix, Goal, Severity
from qtool.doctor.fixes import modern, python_is_within, some
from qtool.doctor.repacked import runs_most_repacked, runs_repacked
from qtool.doctor.routes import runs_int4
from qtool.doctor.snapshot import UNKNOWN
from qtool.doctor.toolkits import install_compiler, install_toolkit
from qtool.doctor.versions import capability_words, is_within, number_tuple, parse_capability
from qtool.language.message import Message, say


def transformers_too_old(case: Case) -> Iterator[Finding]:
    """Report a transformers that does not know gptqmodel yet."""
    if not case.has("gptqmodel") or case.has("auto-gptq"):
        return
    if not case.has_within("transformers", facts.fact("transformers", "gptq_only_auto_gptq")):
        return
    first = facts.fact("gptqmodel", "known_to_transformers_from")
    upgrade = Commands(case).install("--upgrade", f"transformers>={first},<5", "optimum>=1.24,<2.1")
    yield Finding(
        code="GPTQ-TRANSFORMERS-TOO-OLD-FOR-GPTQMODEL",
        severity=case.severity(Goal.GPTQ),
        title=say(
            "transformers {transformers} does not know gptqmodel",
            transformers=case.version("transformers"),
        ),
        explanation=say(
            "transformers uses gptqmodel from {first} on; {transformers} looks "
            "for auto-gptq only, and asks for it although gptqmodel "
            "{gptqmodel} is installed. The cure is a newer transformers, not "
            "auto-gptq.",
            first=first,
            transformers=case.version("transformers"),
            gptqmodel=case.version("gptqmodel"),
        ),
        evidence=(
            f"transformers {case.version('transformers')}, gptqmodel {case.version('gptqmodel')}",
        ),
        fixes=(Fix(say("A transformers that knows gptqmodel"), (upgrade,)),),
        confidence=Confidence.LIKELY,
    )


def transformers_5(case: Case) -> Iterator[Finding]:
    """Report transformers 5 without a gptqmodel that was written for it."""
    if not case.has_within("transformers", facts.fact("transformers", "gptq_only_gptqmodel")):
        return
    if not (case.has("gptqmodel") or case.has("auto-gptq")):
        return
    needed = facts.fact("gptqmodel", "written_for_transformers_5")
    if case.has_within("gptqmodel", needed):
        return
    here = f"gptqmodel {case.version('gptqmodel')}"
    if not case.has("gptqmodel"):
        here = say("auto-gptq only")
    stay = Commands(case).install("transformers==4.57.6", "optimum==1.27.0")
    yield Finding(
        code="GPTQ-TF5-NEEDS-NEWER-GPTQMODEL",
        severity=case.severity(Goal.GPTQ),
        title=say(
            "transformers 5 needs gptqmodel{needed} for GPTQ; here is {here}",
            needed=needed,
            here=here,
        ),
        explanation=say(
            "transformers {transformers} loads GPTQ through gptqmodel alone and "
            "ignores auto-gptq. gptqmodel up to 5.7 was written for transformers 4 (it declares "
            "4.57.1) and breaks on 5; 5.8 is the first for transformers 5.",
            transformers=case.version("transformers"),
        ),
        evidence=(f"transformers {case.version('transformers')}, {here}",),
        fixes=some(modern(case), Fix(say("Or stay with transformers 4"), (stay,))),
        confidence=Confidence.LIKELY,
    )


def build_isolation(case: Case) -> Iterator[Finding]:
    """Warn that the gptqmodel that fits here imports torch while it is built."""
    if case.goal not in (Goal.BUILD, Goal.GPTQ) or not case.lacks("gptqmodel"):
        return
    is_old_torch = case.has("torch") and not case.has_within("torch", ">=2.7.1")
    is_old_python = not python_is_within(case, ">=3.10")
    if not case.has("torch") or not (is_old_torch or is_old_python):
        return
    if case.has("auto-gptq") or case.has_no_gpu or not python_is_within(case, ">=3.9"):
        return
    lowest = facts.capability("gptqmodel", "lowest_capability")
    if any(one < lowest for one in case.capabilities):
        return
    last = facts.fact("gptqmodel", "last_for_older_torch")
    is_old = is_within(case.torch_version, facts.fact("torch", "numpy1_only"))
    numpy = "numpy<2" if is_old else "numpy<2.3"
    commands, newer = Commands(case), modern(case)
    yield Finding(
        code="GPTQMODEL-BUILD-ISOLATION",
        severity=Severity.WARNING if case.goal is Goal.BUILD or not newer else Severity.INFO,
        title=say(
            "gptqmodel up to 4.1, which fits torch {torch}, needs --no-build-isolation",
            torch=case.torch_version,
        ),
        explanation=say(
            "gptqmodel 4.2.5 and newer need torch 2.8, so with torch {torch} an "
            "older one is installed; its setup.py imports torch, which pip's build isolation hides "
            "(\"No module named 'torch'\").",
            torch=case.torch_version,
        ),
        evidence=(f"torch {case.torch_version}, Python {case.snapshot.python or '?'}",),
        fixes=some(
            Fix(
                say("The last gptqmodel for this torch, built against it"),
                (
                    commands.install("setuptools<80", "wheel", "ninja", "packaging", numpy),
                    commands.install("--no-build-isolation", f"gptqmodel=={last}"),
                ),
            ),
            newer,
        ),
        confidence=Confidence.POSSIBLE,
    )


def needs_compiler(case: Case) -> Iterator[Finding]:
    """Warn that gptqmodel cannot be installed without a C compiler, where it would be.

    Where llama.cpp runs most models, only what it does not run would need gptqmodel.
    """
    if case.goal not in (Goal.GPTQ, Goal.AWQ) or not case.lacks("gptqmodel"):
        return
    if case.snapshot.compiler is not None or case.is_windows or case.has_vendor_torch:
        return
    is_served = case.has("auto-gptq") if case.goal is Goal.GPTQ else case.has("autoawq")
    if is_served or runs_repacked(case) or runs_int4(case) or modern(case) is None:
        return
    yield Finding(
        code="GPTQMODEL-NEEDS-COMPILER",
        severity=Severity.INFO if runs_most_repacked(case) else Severity.WARNING,
        title=say("gptqmodel cannot be installed here: there is no C compiler"),
        explanation=say(
            "gptqmodel needs pypcre, which PyPI has as source only: pip compiles it and stops at "
            "\"command 'gcc' failed\" or at a missing Python.h. A compiler and Python's headers "
            "have to be there first."
        ),
        evidence=("no C or C++ compiler on PATH",),
        fixes=(Fix(say("Install them"), (install_compiler(case),)),),
        confidence=Confidence.LIKELY,
    )


def jit_toolchain(case: Case) -> Iterator[Finding]:
    """Warn where gptqmodel cannot compile its CUDA kernels at first use."""
    if not case.has_within("gptqmodel", facts.fact("gptqmodel", "jit_from")):
        return
    if case.is_windows or case.has_no_gpu or not case.torch_cuda:
        return
    if not case.wants(Goal.GPTQ, Goal.AWQ):
        return
    problems = _toolchain_problems(case, case.torch_cuda)
    if not problems:
        return
    major = case.torch_cuda[0]
    yield Finding(
        code="GPTQMODEL-JIT-TOOLCHAIN",
        severity=Severity.WARNING,
        title=say("gptqmodel cannot compile its kernels here: {problem}", problem=problems[0]),
        explanation=say(
            "gptqmodel {gptqmodel} brings no compiled kernels: it compiles them "
            "at first use with nvcc (CUDA {major}, as torch), ninja and a C++ compiler. Where "
            "that fails it falls back to Triton or plain torch, slower and without a word.",
            gptqmodel=case.version("gptqmodel"),
            major=major,
        ),
        evidence=tuple(problems),
        fixes=(
            Fix(
                say("The toolkit of torch's CUDA {major}", major=major),
                (
                    *install_toolkit(case, _toolkit_version(case.torch_cuda)),
                    Commands(case).install("ninja"),
                ),
            ),
        ),
    )


def _toolkit_version(torch_cuda: tuple[int, ...]) -> tuple[int, ...]:
    lowest = number_tuple(facts.fact("gptqmodel", "jit_lowest_nvcc")) or ()
    return max(torch_cuda[:2], lowest) if torch_cuda[0] == lowest[0] else torch_cuda[:2]


def _toolchain_problems(case: Case, torch_cuda: tuple[int, ...]) -> list[Message]:
    snapshot = case.snapshot
    lowest = facts.fact("gptqmodel", "jit_lowest_nvcc")
    problems = []
    present = number_tuple(snapshot.nvcc) if snapshot.nvcc else None
    if snapshot.nvcc is None:
        problems.append(say("there is no nvcc"))
    elif present and present[0] != torch_cuda[0]:
        problems.append(
            say("nvcc {nvcc} is of another CUDA than torch ({major})",
                nvcc=snapshot.nvcc, major=torch_cuda[0])
        )  # fmt: skip
    elif present and present < (number_tuple(lowest) or ()):
        problems.append(
            say("nvcc {nvcc} is older than {lowest}", nvcc=snapshot.nvcc, lowest=lowest)
        )
    if snapshot.ninja is None and not case.has("ninja"):
        problems.append(say("there is no ninja"))
    if snapshot.compiler is None:
        problems.append(say("there is no C++ compiler"))
    return problems


def marlin_capability(case: Case) -> Iterator[Finding]:
    """Report marlin weights, or say which kernel not to ask for, on a GPU below its capability."""
    version = case.version("gptqmodel")
    rows = facts.fact("gptqmodel", "marlin_capability")
    row = next((row for row in rows if is_within(version, row["versions"])), None)
    lowest = parse_capability(row["lowest"]) if row else None
    below = [g for g in case.gpus if g.capability and lowest and g.capability < lowest]
    if not below or lowest is None or not case.wants(Goal.GPTQ):
        return
    chosen = _marlin_evidence(case)
    words = capability_words(below[0].capability or (0, 0))
    yield Finding(
        code="GPTQMODEL-MARLIN-CC",
        severity=Severity.ERROR if chosen else Severity.INFO,
        title=say(
            "Marlin kernels are not for the {gpu} (compute capability {words})",
            gpu=below[0].name,
            words=words,
        ),
        explanation=say(
            "gptqmodel {version}'s marlin kernel needs compute capability "
            "{capability}; the {gpu} has {words}. Left to itself "
            "gptqmodel takes ExLlama V2 or Triton, which run; do not ask for marlin.",
            version=version,
            capability=capability_words(lowest),
            gpu=below[0].name,
            words=words,
        ),
        evidence=(*chosen, f"{below[0].name}: compute capability {words}"),
        fixes=(
            Fix(
                say("Let gptqmodel choose, or name the kernel that runs"),
                ("# in your code: GPTQModel.load(model, backend=BACKEND.EXLLAMA_V2)",),
            ),
        ),
        confidence=Confidence.CERTAIN if chosen else Confidence.LIKELY,
    )


def _marlin_evidence(case: Case) -> tuple[str, ...]:
    results = {} if case.snapshot.import_results is UNKNOWN else case.snapshot.import_results
    seen = [f"{name}: {text}" for name, text in results.items() if "marlin" in text.lower()]
    settings = case.snapshot.env_vars.items()
    seen += [f"{name}={value}" for name, value in settings if "marlin" in value.lower()]
    described = case.snapshot.model
    if described and "marlin" in f"{described.name} {described.format or ''}".lower():
        seen.append(f"the model: {described.name}")
    quantization = case.model.quantization if case.model else None
    if quantization and quantization.checkpoint_format == "marlin":
        seen.append("the model is stored in marlin's own layout")
    return tuple(seen)


RULES = (
    transformers_too_old,
    transformers_5,
    build_isolation,
    needs_compiler,
    jit_toolchain,
    marlin_capability,
)
