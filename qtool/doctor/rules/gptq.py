"""auto-gptq: are its CUDA kernels there, do they load, and who still listens to it?"""

from collections.abc import Iterator

from qtool.doctor import facts
from qtool.doctor.case import Case
from qtool.doctor.commands import Commands
from qtool.doctor.finding import Confidence, Finding, Fix, Goal, Severity
from qtool.doctor.fixes import build_gptq, gguf, legacy_gptq, modern, python_is_within, some
from qtool.doctor.kernels import KernelReport, KernelState, gptq_kernels
from qtool.doctor.routes import loads_gptq_by_gptqmodel
from qtool.doctor.snapshot import UNKNOWN
from qtool.doctor.versions import is_within
from qtool.language.message import say


def is_unsupported_system(case: Case) -> bool:
    """Tell whether auto-gptq does not exist for the system at all."""
    system = case.snapshot.os.system
    return system is not UNKNOWN and system not in facts.fact("auto_gptq", "systems")


def kernels_missing(case: Case) -> Iterator[Finding]:
    """Report auto-gptq installed without compiled modules."""
    if not case.has("auto-gptq") or is_unsupported_system(case):
        return
    report = gptq_kernels(case)
    if report.state is not KernelState.MISSING:
        return
    yield Finding(
        code="GPTQ-KERNELS-MISSING",
        severity=_severity_of_kernels(case),
        title=say(
            "auto-gptq {auto_gptq} is installed without its CUDA kernels",
            auto_gptq=case.version("auto-gptq"),
        ),
        explanation=say(
            "The installation has no compiled module at all: it was built from source with "
            "BUILD_CUDA_EXT=0, or where nvcc or a torch with CUDA could not be found. auto-gptq "
            'then says "CUDA extension not installed" and falls back to a path that is many '
            "times slower."
        ),
        evidence=("none of its kernel modules is among its installed files",),
        fixes=some(build_gptq(case), legacy_gptq(case), modern(case), _without_gpu(case)),
    )


def kernels_abi(case: Case) -> Iterator[Finding]:
    """Report compiled modules that are there but do not load on the installed torch."""
    if not case.has("auto-gptq") or is_unsupported_system(case):
        return
    report = gptq_kernels(case)
    if report.state is not KernelState.BROKEN:
        return
    built = facts.built_for("auto-gptq", case.version("auto-gptq") or "")
    words = built.words if built else report.built_for or say("another torch")
    yield Finding(
        code="GPTQ-KERNELS-ABI",
        severity=_severity_of_kernels(case),
        title=say(
            "auto-gptq's kernels are present but do not load on torch {torch}",
            torch=case.torch_version,
        ),
        explanation=say(
            "The kernels are present ({names}), built for {words}; they do "
            "not load on torch {torch}, {reason}. auto-gptq swallows the "
            'error and says "CUDA extension not installed", which is not true: neither the version '
            "string nor the presence of files decides, the symbols do."
            "{about_cpu_torch}",
            names=", ".join(report.modules),
            words=words,
            torch=case.torch_version,
            reason=_reason(report),
            about_cpu_torch=_about_cpu_torch(case),
        ),
        evidence=report.evidence,
        fixes=some(modern(case), legacy_gptq(case), build_gptq(case), _without_gpu(case)),
        confidence=report.confidence,
    )


def _severity_of_kernels(case: Case) -> Severity:
    """Nobody misses kernels of auto-gptq where transformers takes gptqmodel."""
    if case.goal is not Goal.BUILD and loads_gptq_by_gptqmodel(case):
        return Severity.INFO
    return case.severity_of_kernels(Goal.GPTQ, Goal.BUILD)


def _reason(report: KernelReport) -> str:
    marks = ("need ", "cannot open shared object")
    if any(mark in text for text in report.evidence for mark in marks) and not report.symbols:
        return say("for the libraries they are linked against are not there")
    return say("whose libraries do not have the symbols they ask for")


def _about_cpu_torch(case: Case) -> str:
    if not case.has_cpu_torch:
        return ""
    return say(
        " Besides, this torch is a CPU build without libc10_cuda, so no CUDA kernel could load on "
        "it whatever its version; on a CPU auto-gptq crawls even when it works (0.1 to 0.5 tokens "
        "per second measured)."
    )


def _without_gpu(case: Case) -> Fix | None:
    return gguf(case, say("Without a GPU: a GGUF with llama.cpp")) if case.has_no_gpu else None


def unsupported_system(case: Case) -> Iterator[Finding]:
    """Report a system for which auto-gptq does not exist."""
    if not is_unsupported_system(case) or not (
        case.has("auto-gptq") or case.goal in (Goal.GPTQ, Goal.BUILD)
    ):
        return
    if case.has("gptqmodel") and not case.has("auto-gptq"):
        return
    is_asked = case.goal is Goal.GPTQ or case.has("auto-gptq")
    yield Finding(
        code="GPTQ-OS-UNSUPPORTED",
        severity=case.severity(Goal.GPTQ, Goal.BUILD) if is_asked else Severity.WARNING,
        title=say("auto-gptq does not exist for {system}", system=case.snapshot.os.system),
        explanation=say(
            "auto-gptq's kernels are CUDA or ROCm code, for Linux and Windows only: there is no "
            "wheel for {system}, and building one fails. llama.cpp runs the same "
            "models as GGUF, on Metal where there is an Apple GPU.",
            system=case.snapshot.os.system,
        ),
        evidence=(f"system: {case.snapshot.os.system}",),
        fixes=some(gguf(case), _gptqmodel_elsewhere(case)),
    )


def _gptqmodel_elsewhere(case: Case) -> Fix | None:
    if not python_is_within(case, ">=3.10"):
        return None
    install = Commands(case).install("torch>=2.8,<2.14", "transformers>=5.14", "gptqmodel>=7,<7.7")
    return Fix(say("Or gptqmodel, whose torch kernels run here (slowly)"), (install,))


def optimum_mismatch(case: Case) -> Iterator[Finding]:
    """Report an optimum that wants another auto-gptq or gptqmodel."""
    wanted = [row for row in facts.fact("transformers", "optimum_wants") if _applies(case, row)]
    unmet = [row for row in wanted if not case.has_within(row["package"], row["versions"])]
    # With both libraries installed, transformers and optimum use gptqmodel.
    if any(row["package"] == "gptqmodel" for row in wanted):
        unmet = [row for row in unmet if row["package"] == "gptqmodel"]
    if not unmet:
        return
    package, versions = unmet[0]["package"], unmet[0]["versions"]
    is_dropped = versions == "<0"
    asks = say("wants {package}{versions}", package=package, versions=versions)
    if is_dropped:
        asks = say("no longer uses it")
    yield Finding(
        code="GPTQ-OPTIMUM-MISMATCH",
        severity=case.severity(Goal.GPTQ),
        title=say(
            "optimum {optimum} {asks}; here is {package} {version}",
            optimum=case.version("optimum"),
            asks=asks,
            package=package,
            version=case.version(package),
        ),
        explanation=say(
            "transformers loads GPTQ through optimum, and optimum {optimum} "
            '{asks}: it refuses {package} {version} ("Found an incompatible '
            'version of {package}").',
            optimum=case.version("optimum"),
            asks=asks,
            package=package,
            version=case.version(package),
        ),
        evidence=(f"optimum {case.version('optimum')}, {package} {case.version(package)}",),
        fixes=_optimum_fixes(case, package, versions),
        confidence=Confidence.LIKELY,
    )


def _applies(case: Case, row: dict[str, str]) -> bool:
    return case.has_within("optimum", row["optimum"]) and case.has(row["package"])


def _optimum_fixes(case: Case, package: str, versions: str) -> tuple[Fix, ...]:
    commands = Commands(case)
    if versions == "<0":
        older = Fix(
            say("Or an optimum that knows auto-gptq"), (commands.install("optimum==1.23.3"),)
        )
        return some(modern(case), older)
    if package == "gptqmodel":
        older = Fix(say("Or an optimum that takes it"), (commands.install("optimum>=1.24,<2.3"),))
        return some(modern(case), older)
    best = next(
        (v for v in ("0.7.1", "0.5.1") if _loads(case, v)),
        None,
    )
    upgrade = Fix(
        say("An auto-gptq that it takes, built for the installed torch"),
        (commands.install(f"auto-gptq=={best}"),),
    )
    older = Fix(say("Or an optimum from before it asked"), (commands.install("optimum==1.12.0"),))
    return some(upgrade if best else legacy_gptq(case), older, modern(case))


def _loads(case: Case, version: str) -> bool:
    built = facts.built_for("auto-gptq", version)
    return built is not None and is_within(case.torch_version, built.torch)


RULES = (
    unsupported_system,
    kernels_missing,
    kernels_abi,
    optimum_mismatch,
)
