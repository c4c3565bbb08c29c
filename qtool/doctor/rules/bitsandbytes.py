"""bitsandbytes: has it a library for torch's CUDA, and code for the GPU?"""

import re
from collections.abc import Iterator

from qtool.doctor import facts
from qtool.doctor.case import Case
from qtool.doctor.commands import Commands
from qtool.doctor.finding import Confidence, Finding, Fix, Goal
from qtool.doctor.snapshot import UNKNOWN
from qtool.doctor.versions import capability_words, is_within, parse_capability
from qtool.language.message import say

PACKAGE = "bitsandbytes"
Problem = tuple[str, tuple[str, ...], Confidence]
"""A title, its evidence, and how sure it is."""
_CUDA_TROUBLE = re.compile(r"libbitsandbytes_cuda|CUDA Setup failed|no kernel image", re.IGNORECASE)


def library_missing(case: Case) -> Iterator[Finding]:
    """Report a bitsandbytes without a library for the CUDA of torch, or for the GPU."""
    if not case.has(PACKAGE) or case.has_no_gpu:
        return
    problem = (
        _import_problem(case)
        or _windows_problem(case)
        or _cuda_problem(case)
        or _capability_problem(case)
    )
    if problem is None:
        return
    title, evidence, confidence = problem
    yield Finding(
        code="BNB-ARCH-MISSING",
        severity=case.severity(Goal.BNB),
        title=title,
        explanation=say(
            "bitsandbytes carries one compiled library a CUDA version and loads the one of torch's "
            "CUDA; without it, or without code for the GPU in it, 4-bit and 8-bit layers fail "
            '("library not found", "no kernel image is available").'
        ),
        evidence=evidence,
        fixes=_newer(case),
        confidence=confidence,
    )


def _import_problem(case: Case) -> Problem | None:
    """Return what a real import said of its CUDA library."""
    results = {} if case.snapshot.import_results is UNKNOWN else case.snapshot.import_results
    said = next((text for name, text in results.items() if name.startswith(PACKAGE)), None)
    if said is None or not _CUDA_TROUBLE.search(said):
        return None
    title = say("bitsandbytes {version} does not find its CUDA library, or code for the GPU in it",
                version=case.version(PACKAGE))  # fmt: skip
    return title, (f"import {PACKAGE}: {said}",), Confidence.CERTAIN


def _windows_problem(case: Case) -> Problem | None:
    first = facts.fact("bitsandbytes", "windows_from")
    if not case.is_windows or not case.has_within(PACKAGE, f"<{first}"):
        return None
    title = say("bitsandbytes {version} has no library for Windows; {first} is the first that has",
                version=case.version(PACKAGE), first=first)  # fmt: skip
    return title, ("Windows",), Confidence.LIKELY


def _newer(case: Case) -> tuple[Fix, ...]:
    """Return the newest bitsandbytes; for an older torch the last that takes it."""
    newest, *older = facts.fact("bitsandbytes", "releases")
    versions = ">=0.49.2"
    if case.torch_version and not is_within(case.torch_version, newest["torch"]):
        rows = [row for row in older if is_within(case.torch_version, row["torch"])]
        if not rows:
            return ()
        versions = rows[0]["versions"]
    install = Commands(case).install("--upgrade", "--no-deps", f"bitsandbytes{versions}")
    return (Fix(say("A bitsandbytes that has it"), (install,)),)


def _cuda_problem(case: Case) -> Problem | None:
    cuda = case.torch_cuda
    tags, has_fallback, confidence = _libraries(case)
    if not cuda or len(cuda) < 2 or not tags:
        return None
    tag = f"{cuda[0]}{cuda[1]}"
    is_covered = has_fallback and any(re.fullmatch(rf"{cuda[0]}\d", other) for other in tags)
    if tag in tags or is_covered:
        return None
    version = case.version(PACKAGE)
    return (
        say(
            "bitsandbytes {version} has no library for CUDA {cuda}, which torch uses",
            version=version,
            cuda=f"{cuda[0]}.{cuda[1]}",
        ),
        (f"libraries for CUDA {', '.join(tags)}", f"torch's CUDA: {cuda[0]}.{cuda[1]}"),
        confidence,
    )


def _libraries(case: Case) -> tuple[tuple[str, ...], bool, Confidence]:
    """Return the CUDA tags of its libraries: those installed, else those known of the wheel."""
    rows = facts.fact("bitsandbytes", "cuda_libraries")
    row = next((r for r in rows if case.has_within(PACKAGE, r["versions"])), None)
    has_fallback = bool(row and row["has_major_fallback"])
    listed = " ".join(case.snapshot.ext_files.get(PACKAGE, ()))
    found = re.findall(r"bitsandbytes_cuda(\d{3})", listed)
    if found:
        return tuple(sorted(set(found))), has_fallback, Confidence.CERTAIN
    return tuple(row["tags"]) if row else (), has_fallback, Confidence.LIKELY


def _capability_problem(case: Case) -> Problem | None:
    rows = facts.fact("bitsandbytes", "lowest_capability")
    row = next((r for r in rows if is_within(case.version(PACKAGE), r["versions"])), None)
    if row is None or not case.capabilities:
        return None
    is_arm = case.snapshot.os.arch in ("aarch64", "arm64")
    lowest = parse_capability(row["lowest_aarch64" if is_arm else "lowest"]) or (0, 0)
    if any(one >= lowest for one in case.capabilities):
        return None
    gpu = case.gpus[0]
    return (
        say(
            "bitsandbytes {version} has no code for the {gpu}",
            version=case.version(PACKAGE),
            gpu=gpu.name,
        ),
        (f"needs compute capability {capability_words(lowest)}",),
        Confidence.LIKELY,
    )


RULES = (library_missing,)
