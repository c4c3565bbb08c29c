"""autoawq: its kernels, the transformers that broke it, flash-attn, Windows."""

from collections.abc import Iterator

from qtool.doctor import facts
from qtool.doctor.case import Case
from qtool.doctor.commands import Commands
from qtool.doctor.finding import Confidence, Finding, Fix, Goal, Severity
from qtool.doctor.fixes import (
    autoawq_on_windows,
    gguf,
    modern,
    python_is_within,
    some,
    torch_2_2_commands,
)
from qtool.doctor.kernels import KernelState, awq_kernels
from qtool.doctor.torch_sources import torch_commands
from qtool.doctor.versions import capability_words, parse_capability
from qtool.language.message import say

PACKAGE = "autoawq-kernels"


def kernels_abi(case: Case) -> Iterator[Finding]:
    """Report kernels that are there but do not load on the installed torch."""
    if not case.has(PACKAGE):
        return
    report = awq_kernels(case)
    if report.state is not KernelState.BROKEN:
        return
    version = case.version(PACKAGE) or ""
    built = facts.built_for(PACKAGE, version)
    words = built.words if built else report.built_for or say("another torch")
    yield Finding(
        code="AWQ-KERNELS-ABI",
        severity=case.severity_of_kernels(Goal.AWQ),
        title=say(
            "autoawq-kernels {version} do not load on torch {torch}",
            version=version,
            torch=case.torch_version,
        ),
        explanation=say(
            "The kernels are present ({names}), built for {words}; torch "
            "{torch} no longer has the symbols they ask for. What the wheel declares "
            "(torch>=…) is wider than what it can: none of them loads on torch 2.7 or newer.",
            names=", ".join(report.modules),
            words=words,
            torch=case.torch_version,
        ),
        evidence=report.evidence,
        fixes=some(
            _matching_kernels(case), _matching_torch(case), _without_kernels(case), modern(case)
        ),
        confidence=report.confidence,
    )


def _matching_kernels(case: Case) -> Fix | None:
    """Install the kernels that load on the torch that is there."""
    if case.has_vendor_torch or case.torch_version is None:
        return None
    wanted = facts.kernel_for_torch(PACKAGE, case.torch_version)
    if wanted is None or wanted == case.version(PACKAGE):
        return None
    if not python_is_within(case, facts.fact("autoawq", "kernel_wheel_pythons")[wanted]):
        return None
    # Their requirement names one torch only (0.0.7: ==2.3.1); --no-deps keeps the one installed.
    install = Commands(case).install("--no-deps", f"{PACKAGE}=={wanted}")
    # pip takes 0.0.9+cu118 for 0.0.9 and would keep it: remove it first.
    removal = (Commands(case).uninstall(PACKAGE),) if "+" in (case.version(PACKAGE) or "") else ()
    title = say("The kernels that load on torch {torch}", torch=case.torch_version)
    return Fix(title, (*removal, install))


def _matching_torch(case: Case) -> Fix | None:
    """Install the newest torch that the installed kernels load on."""
    built = facts.built_for(PACKAGE, case.version(PACKAGE) or "")
    if built is None:
        return None
    torch = torch_commands(case, built.torch)
    if torch and built.words == "torch 2.2":
        torch = torch_2_2_commands(case)
    return (
        Fix(say("Or the torch they were built for ({words})", words=built.words), torch)
        if torch
        else None
    )


def _without_kernels(case: Case) -> Fix | None:
    if any(one < facts.capability("features", "lowest_triton") for one in case.capabilities):
        return None
    removal = Commands(case).uninstall(PACKAGE)
    return Fix(say("Or do without them: autoawq then runs through Triton"), (removal,))


def kernels_absent(case: Case) -> Iterator[Finding]:
    """Say that autoawq runs through Triton where it has no compiled kernels."""
    if not case.has("autoawq") or not case.lacks(PACKAGE) or case.has_no_gpu:
        return
    if case.has_within("autoawq", "<0.2") or not case.wants(Goal.AWQ):
        return
    yield Finding(
        code="AWQ-KERNELS-ABSENT-INFO",
        severity=Severity.INFO,
        title=say("autoawq without autoawq-kernels runs through Triton"),
        explanation=say(
            "That works and is no failure: AWQ layers run as Triton kernels, without fused layers "
            "and somewhat slower. It also keeps flash-attn out of the picture."
        ),
        evidence=("no distribution autoawq-kernels",),
        confidence=Confidence.LIKELY,
    )


def transformers_too_new(case: Case) -> Iterator[Finding]:
    """Report a transformers that broke the installed autoawq."""
    rows = facts.fact("autoawq", "broken_by_transformers")
    row = next((row for row in rows if _is_broken_by(case, row)), None)
    if row is None:
        return
    if case.has("gptqmodel") and row["transformers"] == ">=5.0":
        severity = Severity.INFO  # AWQ runs through gptqmodel; autoawq is a leftover
    else:
        severity = case.severity(Goal.AWQ) if row["is_fatal"] else Severity.INFO
    versions = f"autoawq {case.version('autoawq')}, transformers {case.version('transformers')}"
    yield Finding(
        code="AWQ-TRANSFORMERS-TOO-NEW",
        severity=severity if case.wants(Goal.AWQ) else Severity.INFO,
        title=say(
            "transformers {transformers} is too new for autoawq {autoawq}",
            transformers=case.version("transformers"),
            autoawq=case.version("autoawq"),
        ),
        explanation=say("autoawq is no longer maintained: {why}.", why=row["why"]),
        evidence=(versions,),
        fixes=_transformers_fixes(case),
        confidence=Confidence.LIKELY,
    )


def _is_broken_by(case: Case, row: dict[str, str]) -> bool:
    return case.has_within("autoawq", row["autoawq"]) and case.has_within(
        "transformers", row["transformers"]
    )


def _transformers_fixes(case: Case) -> tuple[Fix, ...]:
    commands = Commands(case)
    if case.has_within("autoawq", ">=0.2.9"):
        older = Fix(say("The last transformers with what autoawq imports"),
                    (commands.install("transformers==4.56.2"),))  # fmt: skip
        tested = Fix(
            say("Or the one it was last tested with"), (commands.install("transformers==4.51.3"),)
        )
    else:
        older = Fix(say("The last transformers that this autoawq knows"),
                    (commands.install("transformers==4.47.1"),))  # fmt: skip
        tested = Fix(
            say("Or the last autoawq, with the transformers it was tested with"),
            (commands.install("autoawq==0.2.9", "transformers==4.51.3"),),
        )
    unused = Fix(
        say("Or remove autoawq where no AWQ model is used"), (commands.uninstall("autoawq"),)
    )
    return some(older, tested, modern(case), unused)


def no_code_for_gpu(case: Case) -> Iterator[Finding]:
    """Report GPUs outside of what autoawq-kernels are compiled for."""
    if not case.has(PACKAGE) or not case.capabilities:
        return
    limits = facts.fact("autoawq", "kernel_capabilities")
    lowest, highest = (parse_capability(limits[key]) or (0, 0) for key in ("lowest", "highest"))
    outside = [g for g in case.gpus if g.capability and not lowest <= g.capability <= highest]
    if not outside:
        return
    gpu = outside[0]
    words = capability_words(gpu.capability or (0, 0))
    is_newer = (gpu.capability or (0, 0)) > highest
    is_usable = len(outside) < len(case.gpus)
    yield Finding(
        code="AWQ-NO-BLACKWELL-KERNELS",
        severity=Severity.WARNING if is_usable else case.severity(Goal.AWQ),
        title=say(
            "autoawq-kernels have no code for the {gpu} (compute capability {words})",
            gpu=gpu.name,
            words=words,
        ),
        explanation=say(
            "They are compiled for compute capability {limits}, so nothing in them can run on "
            '{words}: "no kernel image is available for execution on the device". ',
            limits=limits["words"],
            words=words,
        )
        + (
            say("No newer version will come; gptqmodel has AWQ kernels for this GPU.")
            if is_newer
            else say("No pin of autoawq changes that: use GGUF, or GPTQ with ExLlama.")
        ),
        evidence=(f"{gpu.name}: compute capability {words}", f"built for {limits['words']}"),
        fixes=some(modern(case) if is_newer else None, _without_kernels(case), gguf(case)),
    )


def windows_triton(case: Case) -> Iterator[Finding]:
    """Report autoawq's hard requirement of triton on Windows, where PyPI has none."""
    if not case.is_windows or not (case.lacks("triton") and case.lacks("triton-windows")):
        return
    is_installed = case.has_within("autoawq", facts.fact("autoawq", "needs_triton"))
    if not is_installed and not (case.lacks("autoawq") and case.goal in (Goal.AWQ, Goal.BUILD)):
        return
    if not is_installed and case.has("gptqmodel"):
        return
    yield Finding(
        code="AWQ-WINDOWS-TRITON",
        severity=case.severity(Goal.AWQ) if is_installed else Severity.WARNING,
        title=say("autoawq needs triton, which has no Windows wheel"),
        explanation=say(
            "autoawq 0.2.7 and newer require the distribution triton; PyPI has it for Linux only "
            '("No matching distribution found for triton"). triton-windows provides the module '
            "under another name, so pip has to be told not to look for triton."
        ),
        evidence=("Windows, without triton and triton-windows",),
        fixes=some(
            autoawq_on_windows(case), gguf(case, say("Or a GGUF of the model with llama.cpp"))
        ),
        confidence=Confidence.LIKELY if is_installed else Confidence.POSSIBLE,
    )


RULES = (
    kernels_abi,
    kernels_absent,
    transformers_too_new,
    no_code_for_gpu,
    windows_triton,
)
