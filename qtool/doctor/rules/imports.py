"""Modules that do not import, as ``--deep`` has seen: they crash, hang, or raise."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from qtool.doctor.case import Case
from qtool.doctor.commands import Commands
from qtool.doctor.finding import Confidence, Finding, Fix, Goal, Severity
from qtool.doctor.fixes import some
from qtool.doctor.routes import runs_int4
from qtool.doctor.snapshot import UNKNOWN, ImportAttempt, ImportEnding
from qtool.doctor.versions import parse_version
from qtool.language.message import say

_ALL = (Goal.GPTQ, Goal.AWQ, Goal.PLAIN, Goal.BNB, Goal.FLASH_ATTN, Goal.BUILD)
# Module: its distribution, and the goals that it serves.
PACKAGES: Mapping[str, tuple[str, tuple[Goal, ...]]] = {
    "torch": ("torch", _ALL),
    "numpy": ("numpy", _ALL),
    "transformers": ("transformers", (Goal.GPTQ, Goal.AWQ, Goal.PLAIN, Goal.BNB)),
    "accelerate": ("accelerate", (Goal.GPTQ, Goal.AWQ, Goal.BNB)),
    "optimum.gptq": ("optimum", (Goal.GPTQ,)),
    "auto_gptq": ("auto-gptq", (Goal.GPTQ,)),
    "gptqmodel": ("gptqmodel", (Goal.GPTQ, Goal.AWQ)),
    "awq": ("autoawq", (Goal.AWQ,)),
    "flash_attn": ("flash-attn", (Goal.FLASH_ATTN,)),
    "bitsandbytes": ("bitsandbytes", (Goal.BNB,)),
    "llama_cpp": ("llama-cpp-python", (Goal.GGUF,)),
    "xllamacpp": ("xllamacpp", ()),
    "gguf": ("gguf", ()),
    "triton": ("triton", ()),
    "torchvision": ("torchvision", ()),
    "xformers.ops": ("xformers", ()),
    "exllamav2": ("exllamav2", ()),
    "vllm": ("vllm", ()),
}
# Of these one that imports is enough.
ALTERNATIVES: Mapping[Goal, tuple[str, ...]] = {
    Goal.GPTQ: ("gptqmodel", "auto_gptq"),
    Goal.AWQ: ("gptqmodel", "awq"),
}
BASES = ("torch", "numpy", "transformers")
"""Without these nothing runs that is not llama.cpp."""
_CODES = {
    ImportEnding.RAISED: "IMPORT-FAILS",
    ImportEnding.CRASHED: "IMPORT-CRASHES",
    ImportEnding.EXITED: "IMPORT-CRASHES",
    ImportEnding.HUNG: "IMPORT-HANGS",
}
_EXPLAINED_BY = {
    "torch": ("TORCH-", "NUMPY2-"),
    "numpy": ("NUMPY2-",),
    "auto_gptq": ("GPTQ-",),
    "gptqmodel": ("GPTQMODEL-", "GPTQ-T"),
    "optimum.gptq": ("GPTQ-",),
    "awq": ("AWQ-",),
    "flash_attn": ("FA-",),
    "bitsandbytes": ("BNB-",),
    "llama_cpp": ("LCPP-",),
    "torchvision": ("TORCHVISION-",),
}
"""Findings that know better why a module does not import; they get its failure as evidence."""


def broken_imports(case: Case) -> Iterator[Finding]:
    """Report packages that do not import; of those that fail with torch, only torch."""
    imports = case.snapshot.imports
    if imports is UNKNOWN:
        return
    for module, attempt in imports.items():
        if module in PACKAGES and attempt.failed and not _fails_for_torch(attempt):
            yield _finding(case, module, attempt)


def _fails_for_torch(attempt: ImportAttempt) -> bool:
    return attempt.detail.startswith("import torch: ")


def _finding(case: Case, module: str, attempt: ImportAttempt) -> Finding:
    version = case.version(PACKAGES[module][0])
    name = f"{PACKAGES[module][0]} {version}" if version else PACKAGES[module][0]
    return Finding(
        code=_CODES[attempt.ending],
        severity=_severity(case, module),
        title=say("{name}: {words}", name=name, words=_words(module, attempt)),
        explanation=_explanation(attempt),
        evidence=_evidence(module, attempt),
        fixes=_fixes(case, module, attempt),
    )


def _words(module: str, attempt: ImportAttempt) -> str:
    match attempt.ending:
        case ImportEnding.RAISED:
            return say("import {module} fails: {detail}", module=module, detail=attempt.detail)
        case ImportEnding.HUNG:
            return say("import {module} does not come to an end", module=module)
        case _:
            return say(
                "import {module} takes Python down: {detail}", module=module, detail=attempt.detail
            )


def _explanation(attempt: ImportAttempt) -> str:
    match attempt.ending:
        case ImportEnding.RAISED:
            return say(
                "It was imported for real, in a process of its own, and raised this. Every program "
                "that imports it fails in the same way."
            )
        case ImportEnding.HUNG:
            return say(
                "It was imported for real, in a process of its own, and had to be killed when its "
                "time was up. Usual causes: a driver that does not answer, a network folder, a "
                "lock that an earlier process has left behind."
            )
        case _:
            return say(
                "It was imported for real, in a process of its own, which died of it: no Python "
                "code can catch that. Usual causes: binaries made for another processor, for "
                "another version of what they link against, or a damaged file."
            )


def _evidence(module: str, attempt: ImportAttempt) -> tuple[str, ...]:
    seconds = "" if attempt.seconds is UNKNOWN else f" after {attempt.seconds:g} s"
    where = f", in {attempt.where}" if attempt.where else ""
    return (f"import {module}: {attempt.detail}{where}{seconds}",)


def _severity(case: Case, module: str) -> Severity:
    """A module is needed where the goal asks for it and nothing else does the same.

    Without a goal only what everything rests on is an error.
    """
    goals = PACKAGES[module][1]
    if case.goal is None:
        return Severity.ERROR if module in BASES else Severity.WARNING
    if case.goal not in goals or _has_alternative(case, case.goal, module):
        return Severity.INFO
    return Severity.ERROR


def _has_alternative(case: Case, goal: Goal, module: str) -> bool:
    if module == "llama_cpp":
        return bool(case.snapshot.llama_cpp)  # qtool brings its own
    if goal in ALTERNATIVES and module not in BASES and runs_int4(case):
        return True  # qtool's own loader needs no other
    imports = case.snapshot.imports or {}
    others = [one for one in ALTERNATIVES.get(goal, ()) if one != module]
    is_one_of_them = len(others) < len(ALTERNATIVES.get(goal, ()))
    return is_one_of_them and any(one in imports and not imports[one].failed for one in others)


def _fixes(case: Case, module: str, attempt: ImportAttempt) -> tuple[Fix, ...]:
    commands = Commands(case)
    see = f'{commands.examined} -X faulthandler -c "import {module}"'
    return some(
        _bring_missing(case, module, attempt),
        _install_again(case, module, attempt),
        Fix(say("See all of what it says"), (see,)),
    )


def _bring_missing(case: Case, module: str, attempt: ImportAttempt) -> Fix | None:
    """Install what the package declares and is not there; pip leaves the rest as it is."""
    missing = re.search(r"No module named '([\w.]+)'", attempt.detail)
    if missing is None or attempt.ending is not ImportEnding.RAISED:
        return None
    holder = PACKAGES[module][0]
    install = Commands(case).install(holder)
    return Fix(
        say(
            "Install what {holder} declares and does not find ({missing})",
            holder=holder,
            missing=missing[1],
        ),
        (install,),
    )


def _install_again(case: Case, module: str, attempt: ImportAttempt) -> Fix | None:
    """Replace a package's files by the same release's; not where they came from elsewhere."""
    holder = PACKAGES[module][0]
    version = parse_version(case.version(holder))
    if version is None or version.local or attempt.ending is ImportEnding.RAISED:
        return None
    words = ("--force-reinstall", "--no-deps", f"{holder}=={version}")
    return Fix(
        say("The same release once more, its files replaced"), (Commands(case).install(*words),)
    )


def with_imports_as_evidence(found: Sequence[Finding]) -> list[Finding]:
    """Give a failed import to the finding that explains it, where there is one. Pure."""
    imports = [finding for finding in found if finding.code in _CODES.values()]
    kept = [finding for finding in found if finding not in imports]
    for failed in imports:
        index = next((i for i, one in enumerate(kept) if _explains(one, failed)), None)
        if index is None:
            kept.append(failed)
        else:
            evidence = (*kept[index].evidence, *failed.evidence)
            sure = Confidence.CERTAIN  # for it was seen
            kept[index] = replace(kept[index], evidence=evidence, confidence=sure)
    return kept


def _explains(finding: Finding, failed: Finding) -> bool:
    """Tell whether an error is about the package whose import failed, and no milder than that."""
    module = failed.evidence[0].removeprefix("import ").partition(":")[0]
    is_serious = finding.severity.rank <= min(failed.severity.rank, Severity.WARNING.rank)
    return is_serious and finding.code.startswith(_EXPLAINED_BY.get(module, ("-",)))


RULES = (broken_imports,)
