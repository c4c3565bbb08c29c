"""The environment as a whole: the right interpreter, and a set that does not contradict itself."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from qtool.doctor.case import Case
from qtool.doctor.commands import Commands
from qtool.doctor.described import format_of
from qtool.doctor.finding import Confidence, Finding, Fix, Goal, Severity
from qtool.doctor.fixes import (
    autoawq_on_windows,
    bitsandbytes,
    gguf,
    legacy_awq,
    legacy_gptq,
    modern,
    some,
    torch_alone,
)
from qtool.doctor.proven_sets import environment_for, proven_set
from qtool.doctor.repacked import runs_most_repacked, runs_repacked
from qtool.doctor.requirements import asked_of
from qtool.doctor.routes import is_known_packing, runs_int4
from qtool.doctor.rules.gptq import is_unsupported_system
from qtool.doctor.snapshot import UNKNOWN
from qtool.doctor.torch_sources import torch_commands
from qtool.doctor.versions import is_within, parse_version
from qtool.language.message import Message, say, together

ENGINES: dict[Goal, tuple[str, ...]] = {
    Goal.GPTQ: ("gptqmodel", "auto-gptq"),
    Goal.AWQ: ("autoawq", "gptqmodel"),
    Goal.FLASH_ATTN: ("flash-attn",),
    Goal.BNB: ("bitsandbytes",),
    Goal.GGUF: ("llama-cpp-python",),
    Goal.PLAIN: ("torch", "transformers"),
}
FAMILY: dict[str, tuple[Goal, ...]] = {
    "auto-gptq": (Goal.GPTQ,),
    "gptqmodel": (Goal.GPTQ, Goal.AWQ),
    "optimum": (Goal.GPTQ,),
    "autoawq": (Goal.AWQ,),
    "bitsandbytes": (Goal.BNB,),
    "flash-attn": (Goal.FLASH_ATTN,),
    "transformers": (Goal.GPTQ, Goal.AWQ, Goal.PLAIN, Goal.BNB, Goal.FLASH_ATTN),
    "accelerate": (Goal.GPTQ, Goal.AWQ, Goal.PLAIN, Goal.BNB),
    "llama-cpp-python": (Goal.GGUF,),
}


@dataclass(frozen=True, slots=True)
class Conflict:
    """A requirement that the installed set does not meet."""

    holder: str
    requirement: str
    package: str
    installed: str


def silent_interpreter(case: Case) -> Iterator[Finding]:
    """Warn that the examined interpreter does not run; its folders were read all the same."""
    reason = case.snapshot.reasons.get("interpreter")
    if reason is None:
        return
    yield Finding(
        code="ENV-PYTHON-SILENT",
        severity=Severity.WARNING,
        title=say("The examined Python does not answer"),
        explanation=say(
            "It could not be asked for its version and its folders, so what follows is what its "
            "folders show. An environment breaks like this when the Python that it was made with "
            "is moved or removed: make it anew."
        ),
        evidence=(f"{Commands(case).examined}: {reason}",),
    )


def other_interpreter(case: Case) -> Iterator[Finding]:
    """Report packages that are in another interpreter than the examined one."""
    wanted = ENGINES.get(case.goal, ()) if case.goal else ()
    if not wanted or any(not case.lacks(name) for name in wanted):
        return
    if case.goal is Goal.GGUF and case.snapshot.llama_cpp:
        return  # qtool brings its own llama.cpp
    elsewhere = [
        (other.path, [f"{n} {other.dists[n]}" for n in wanted if n in other.dists])
        for other in case.snapshot.other_interpreters
        if any(name in other.dists for name in wanted)
    ]
    if not elsewhere:
        return
    here = case.snapshot.interpreter
    where = f"{here.path} " if here is not UNKNOWN else ""
    path, names = elsewhere[0]
    engine = next(n for n in wanted if any(text.startswith(f"{n} ") for text in names))
    yield Finding(
        code="ENV-OTHER-INTERPRETER",
        severity=Severity.ERROR,
        title=say(
            "{name} is installed in another interpreter than the one that runs", name=names[0]
        ),
        explanation=say(
            "The examined interpreter {where}(Python {python}) does not have it; "
            "{path} does. A plain `pip` belongs to whichever Python comes first on PATH: run the "
            "pip of the interpreter that runs the program, as `<its python> -m pip`.",
            where=where,
            python=case.snapshot.python or "?",
            path=path,
        ),
        evidence=tuple(f"{path}: {', '.join(found)}" for path, found in elsewhere),
        fixes=(
            _install_here(case, engine),
            Fix(say("Or examine and use the other one"), (f'qtool doctor --python "{path}"',)),
        ),
    )


def _install_here(case: Case, engine: str) -> Fix:
    if engine == "autoawq" and case.is_windows and (fix := autoawq_on_windows(case)):
        return fix
    words = ("--no-build-isolation", engine) if engine == "flash-attn" else (engine,)
    if engine == "autoawq" and not case.has_within("transformers", ">=4.45,<4.57"):
        words = (
            engine,
            "transformers==4.51.3",
        )  # it asks for no more than 4.45, and breaks on 4.57
    install = Commands(case).install(*words)
    return Fix(say("Install it into the interpreter that runs"), (install,))


def engine_missing(case: Case) -> Iterator[Finding]:
    """Say what the goal needs where none of it is installed, here or in another interpreter."""
    if case.goal not in (Goal.GPTQ, Goal.AWQ, Goal.BNB) or is_unsupported_system(case):
        return
    wanted = ENGINES[case.goal]
    others = case.snapshot.other_interpreters
    if not all(case.lacks(name) for name in wanted) or runs_repacked(case):
        return
    runs_otherwise = runs_int4(case) or (case.has("vllm") and case.gpus)
    if case.goal is not Goal.BNB and runs_otherwise:
        return
    if any(name in other.dists for other in others for name in wanted):
        return
    own = environment_for(case, form) if (form := format_of(case.goal)) else None
    yield Finding(
        code="ENGINE-MISSING",
        severity=Severity.INFO if own or runs_most_repacked(case) else Severity.WARNING,
        title=say(
            "Nothing is installed that runs {goal} as it is: no {names}",
            goal=case.goal.upper(),
            names=together(wanted, say(" and no ")),
        ),
        explanation=_about_engines(case),
        evidence=(say("none of {names} among the distributions", names=", ".join(wanted)),),
        fixes=_engines(case),
    )


def _about_engines(case: Case) -> str:
    """Say which of the cures is for whom."""
    text = say("No library for this format is in the examined interpreter. ")
    if case.goal is Goal.BNB:
        return text + say(
            "bitsandbytes quantizes an unquantized model while transformers loads it."
        )
    if runs_most_repacked(case):
        return text + say(
            "None is needed for most models: qtool chat repacks them into a GGUF without loss, "
            "and llama.cpp runs that. The others run with transformers, on a CPU more slowly."
        )
    if case.has_no_gpu and case.model is not None and is_known_packing(case.model):
        return text + say(
            "On a CPU none is needed: qtool's own loader runs it with torch and transformers. A "
            "GGUF of the same model is several times faster and needs neither."
        )
    if case.has_no_gpu:
        return text + say(
            "Without a GPU a GGUF of the same model is several times faster and needs none; the "
            "modern profile, gptqmodel, runs on a CPU too, auto-gptq and autoawq are of no use."
        )
    return text + say(
        "The modern profile is the one that is maintained; the legacy one is for what only "
        "auto-gptq or autoawq can do. A GGUF of the same model needs neither."
    )


def _engines(case: Case) -> tuple[Fix, ...]:
    """Return the ways to run the goal's format, the best for this machine first."""
    if case.goal is Goal.BNB:
        return some(bitsandbytes(case), gguf(case))
    own = proven_set(case, format_of(case.goal))
    if runs_most_repacked(case):
        repack = Fix(say("As it is, repacked by qtool"), ("qtool chat MODEL",))
        return some(repack, own, gguf(case))
    if case.has_no_gpu:
        title = say("Without a GPU: a GGUF of the model with llama.cpp")
        is_packed = case.model is not None and is_known_packing(case.model)
        return some(gguf(case, title), own, torch_alone(case) if is_packed else modern(case))
    legacy = legacy_gptq(case) if case.goal is Goal.GPTQ else legacy_awq(case)
    return some(own, modern(case), legacy, gguf(case))


def pip_conflict(case: Case) -> Iterator[Finding]:
    """Report an installed set that contradicts its own requirements."""
    conflicts = tuple(find_conflicts(case))
    if not conflicts:
        return
    first = conflicts[0]
    families = [goal for c in conflicts for goal in FAMILY.get(c.holder, ())]
    severity = case.severity(*families) if case.goal is not Goal.BUILD else Severity.WARNING
    yield Finding(
        code="PIP-CONFLICT",
        severity=severity,
        title=say(
            "{holder} wants {requirement}; here is {package} {installed}",
            holder=first.holder,
            requirement=first.requirement,
            package=first.package,
            installed=first.installed,
        ),
        explanation=say(
            "The installed set contradicts its own requirements: {conflicts}. A later `pip "
            "install` replaced what an earlier one had chosen.",
            conflicts=together((_conflict_words(case, one) for one in conflicts[:5]), "; "),
        ),
        evidence=tuple(
            f"{c.holder} declares {c.requirement}, installed is {c.installed}" for c in conflicts
        ),
        fixes=some(
            _asking_for(case, conflicts),
            Fix(
                say("See every conflict of the environment"),
                (f"{Commands(case).examined} -m pip check",),
            ),
        ),
        confidence=Confidence.CERTAIN if case.snapshot.requires else Confidence.LIKELY,
    )


def _conflict_words(case: Case, conflict: Conflict) -> Message:
    return say(
        "{holder} {version} declares {requirement}, installed is {package} {installed}",
        holder=conflict.holder,
        version=case.version(conflict.holder),
        requirement=conflict.requirement,
        package=conflict.package,
        installed=conflict.installed,
    )


def _asking_for(case: Case, conflicts: Sequence[Conflict]) -> Fix | None:
    """Install what is declared; torch with what goes along with it. ``None`` where no torch is
    what all of them declare."""
    wanted: dict[str, list[str]] = {}
    for one in conflicts:
        wanted.setdefault(one.package, []).append(one.requirement.removeprefix(one.package).strip())
    bounds_of_torch = wanted.pop("torch", [])
    torch = torch_commands(case, ",".join(bounds_of_torch)) if bounds_of_torch else ()
    if bounds_of_torch and not torch:
        return None
    specs = [f"{name}{','.join(dict.fromkeys(bounds))}" for name, bounds in wanted.items()]
    commands = (*torch, *((Commands(case).install(*specs),) if specs else ()))
    return Fix(say("Ask for what is declared, all at once"), commands)


def find_conflicts(case: Case) -> Iterator[Conflict]:
    """Yield requirements among the packages of interest that are installed and not met.

    torchvision and torchaudio have a rule of their own, autoawq-kernels declare what is not so
    (their symbols decide), and nothing is asked of a vendor's torch.
    """
    dists = {} if case.snapshot.dists is UNKNOWN else case.snapshot.dists
    for holder in dists:
        if holder not in FAMILY:
            continue
        for name, specifier in asked_of(case, holder, dists[holder]):
            installed = dists.get(name)
            if parse_version(installed) is None or (name == "torch" and case.has_vendor_torch):
                continue
            if installed is not None and not is_within(installed, specifier):
                yield Conflict(holder, f"{name}{specifier}", name, installed)


RULES = (silent_interpreter, other_interpreter, engine_missing, pip_conflict)
