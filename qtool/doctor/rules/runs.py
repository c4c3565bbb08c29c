"""Kernels that were run for real (``--run``) and failed, computed wrongly, or crawled."""

from collections.abc import Iterator

from qtool.doctor.case import Case
from qtool.doctor.commands import Commands
from qtool.doctor.finding import Finding, Fix, Goal, Severity
from qtool.doctor.repacked import runs_repacked
from qtool.doctor.routes import find_route, runs_int4
from qtool.doctor.snapshot import UNKNOWN, KernelEnding, KernelRun
from qtool.language.message import say
from qtool.models.info import ModelFormat

LARGEST_ERROR = 0.05
"""Of a product against fp32. Measured: 0.003 in half precision, 0.69 with a wrong nibble order."""
SLOW_FACTOR = 5.0
"""A quantized product that takes so many times as long as the unquantized one is a fallback.
Measured on a CPU: 14 for auto-gptq's, 0.4 to 2 for kernels that are made for the device."""
_KINDS = {
    ModelFormat.PLAIN: "half",
    ModelFormat.GPTQ: "gptq",
    ModelFormat.AWQ: "awq",
    ModelFormat.GGUF: "gguf",
}
_GOALS = {
    ModelFormat.PLAIN: Goal.PLAIN,
    ModelFormat.GPTQ: Goal.GPTQ,
    ModelFormat.AWQ: Goal.AWQ,
    ModelFormat.GGUF: Goal.GGUF,
}


def kind_for(case: Case, form: ModelFormat) -> str | None:
    """Return which kind of run shows whether a format runs here, as the verdict would run it."""
    is_packed = form in (ModelFormat.GPTQ, ModelFormat.AWQ)
    if is_packed and runs_repacked(case):
        return "gguf"
    return "int4pack" if is_packed and runs_int4(case) else _KINDS.get(form)


def is_wrong(run: KernelRun) -> bool:
    """Tell whether a kernel gave another product than fp32 does, or none that is a number."""
    if run.ending is not KernelEnding.MEASURED or run.is_token:
        return False
    return run.relative_error is UNKNOWN or run.relative_error > LARGEST_ERROR


def kernels_as_run(case: Case) -> Iterator[Finding]:
    """Report every kernel whose run came out badly."""
    runs = case.snapshot.kernel_runs or ()
    for run in runs:
        if run.ending is not KernelEnding.MEASURED:
            yield _failed(case, run)
        elif is_wrong(run):
            yield _wrong(case, run)
        elif factor := slowness(run, runs):
            yield _slow(case, run, factor)


def slowness(run: KernelRun, runs: tuple[KernelRun, ...]) -> float | None:
    """Return how many times as long as the unquantized product it takes, if that is too long.

    Per weight, for the two need not have the same shape.
    """
    half = next((one for one in runs if one.kind == "half"), None)
    if half is None or half is run or run.is_token or half.device != run.device:
        return None
    mine, others = _seconds_per_weight(run), _seconds_per_weight(half)
    factor = mine / others if mine and others else 0.0
    return factor if factor > SLOW_FACTOR else None


def _seconds_per_weight(run: KernelRun) -> float | None:
    """Return the time a weight; 2 bytes each in half precision, else about half a byte."""
    if not run.seconds_per_call or not run.bytes_per_call:
        return None
    weight_bytes = 2.0 if run.kind == "half" else 0.52
    return run.seconds_per_call / (run.bytes_per_call / weight_bytes)


def _severity(case: Case, run: KernelRun) -> Severity:
    """An error where the goal needs it, or the verdict says that just this runs here."""
    forms = [form for form in _KINDS if kind_for(case, form) == run.kind]
    if case.goal is not None:
        is_needed = any(_GOALS[form] is case.goal for form in forms)
        return Severity.ERROR if is_needed else Severity.INFO
    engine = "llama.cpp" if run.kind == "gguf" else "transformers"
    routes = [find_route(case, form) for form in forms]
    is_needed = any(route.runs and route.engine == engine for route in routes)
    return Severity.ERROR if is_needed else Severity.INFO


def _failed(case: Case, run: KernelRun) -> Finding:
    words = {
        KernelEnding.RAISED: say("fails: {detail}", detail=run.detail),
        KernelEnding.CRASHED: say("takes Python down: {detail}", detail=run.detail),
        KernelEnding.HUNG: say("does not come to an end"),
    }
    return Finding(
        code="KERNEL-FAILS",
        severity=_severity(case, run),
        title=say("Running {name} {ending}", name=_name(run), ending=words[run.ending]),
        explanation=say(
            "It was run for real, in a process of its own, with random weights. A conversation "
            "with a model of this format would end in the same way."
        ),
        evidence=(f"{run.kind}: {run.detail}",),
        fixes=(_deeper(case),),
    )


def _wrong(case: Case, run: KernelRun) -> Finding:
    error = say("no number") if run.relative_error is UNKNOWN else f"{run.relative_error:.2g}"
    return Finding(
        code="KERNEL-WRONG",
        severity=_severity(case, run),
        title=say(
            "{name} computes wrongly: relative error {error} against fp32",
            name=_name(run),
            error=error,
        ),
        explanation=say(
            "Its product was compared with the same product in fp32. A model would answer "
            "nonsense with it, without any message. Usual causes: a kernel built for another "
            "GPU or another layout of the weights, overclocked or failing memory."
        ),
        evidence=(
            f"{_name(run)} on {run.device}: relative error {error}, {LARGEST_ERROR} allowed",
        ),
        fixes=(_deeper(case),),
    )


def _slow(case: Case, run: KernelRun, factor: float) -> Finding:
    is_needed = _severity(case, run) is Severity.ERROR
    return Finding(
        code="KERNEL-SLOW",
        severity=Severity.WARNING if is_needed else Severity.INFO,
        title=say(
            "{name} takes {factor:.0f} times as long as the product without quantization",
            name=_name(run),
            factor=factor,
        ),
        explanation=say(
            "Measured on {device}. A kernel made for the device is faster than half "
            "precision, for it reads a quarter of the bytes; this one unpacks the weights in "
            "general operations first.",
            device=run.device,
        ),
        evidence=(f"{_name(run)} on {run.device}: {factor:.1f} times the time a weight",),
        fixes=(),
    )


def _name(run: KernelRun) -> str:
    return (
        f"{run.engine} {run.kernel} ({run.kind})"
        if run.engine
        else say("the {kind} kernel", kind=run.kind)
    )


def _deeper(case: Case) -> Fix:
    command = f"qtool doctor --python {Commands(case).examined} --deep"
    return Fix(say("See whether every module imports"), (command,))


RULES = (kernels_as_run,)
