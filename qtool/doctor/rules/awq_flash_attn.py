"""autoawq and flash-attn: an extra that drags it in, fused layers that miss it."""

from collections.abc import Iterator

from qtool.doctor import facts
from qtool.doctor.case import Case
from qtool.doctor.commands import Commands
from qtool.doctor.finding import Confidence, Finding, Fix, Goal, Severity
from qtool.doctor.rules.awq import PACKAGE
from qtool.doctor.versions import is_within
from qtool.language.message import say


def extra_needs_flash_attn(case: Case) -> Iterator[Finding]:
    """Warn of ``autoawq[kernels]`` pulling in flash-attn, or missing it in fused layers."""
    if case.goal is Goal.BUILD:
        yield from _extra_when_building(case)
        return
    if not case.has_within("autoawq", facts.fact("autoawq", "fused_needs_flash_attn")):
        return
    if not case.has(PACKAGE) or not case.wants(Goal.AWQ):
        return
    lowest = facts.capability("flash_attn", "lowest_capability")
    too_old = [g for g in case.gpus if g.capability and g.capability < lowest]
    if not case.lacks("flash-attn") and not too_old:
        return
    error = (
        "RuntimeError: FlashAttention only supports Ampere GPUs or newer"
        if case.has("flash-attn")
        else "NameError: name 'flash_attn_func' is not defined"
    )
    yield _flash_attn_finding(case, error, bool(too_old))


def _flash_attn_finding(case: Case, error: str, is_gpu_too_old: bool) -> Finding:
    pin = facts.fact("autoawq", "pin_without_flash_attn")
    keep = Fix(
        say("Keep this autoawq without fused layers"),
        ("# in your code: AutoAWQForCausalLM.from_quantized(path, fuse_layers=False)",),
    )
    install = Commands(case).install(f"autoawq=={pin}")
    reason = say(", which this GPU cannot run")
    if not is_gpu_too_old:
        reason = say(", which is not installed")
    seen = _flash_attn_errors(case)
    severity = Severity.WARNING if case.has("flash-attn") else Severity.INFO
    return Finding(
        code="AWQ-EXTRA-NEEDS-FLASH-ATTN",
        severity=Severity.ERROR if seen else severity,
        title=say(
            "autoawq {autoawq}'s fused layers call flash-attn{reason}",
            autoawq=case.version("autoawq"),
            reason=reason,
        ),
        explanation=say(
            "From 0.2.7.post3 on fused attention needs flash-attn. AutoAWQForCausalLM fuses by "
            'default and fails here with "{error}"; through transformers (and so in qtool chat) '
            "nothing is fused and the model runs. {pin} is the last that does without.",
            error=error,
            pin=pin,
        ),
        evidence=(
            *seen,
            f"autoawq {case.version('autoawq')} with autoawq-kernels {case.version(PACKAGE)}",
            f"flash-attn: {case.version('flash-attn') or 'not installed'}",
        ),
        fixes=(keep, Fix(say("Or autoawq {pin}, without flash-attn", pin=pin), (install,))),
        confidence=Confidence.LIKELY,
    )


def _flash_attn_errors(case: Case) -> tuple[str, ...]:
    """Return what imports said of the flash-attn that is not there or not for this GPU."""
    results = case.snapshot.import_results or {}
    marks = ("flash_attn_func", "FlashAttention only supports")
    return tuple(
        f"{name}: {text}" for name, text in results.items() if any(mark in text for mark in marks)
    )


def _extra_when_building(case: Case) -> Iterator[Finding]:
    """Say which autoawq to ask for, before pip starts to compile flash-attn for it."""
    if not case.lacks("autoawq") or not case.lacks("flash-attn") or not case.torch_cuda:
        return
    if not is_within(case.torch_version, ">=2.2,<2.7"):
        return  # none of its kernels would load: nobody should want the extra
    pin = facts.fact("autoawq", "pin_without_flash_attn")
    kernels = facts.kernel_for_torch(PACKAGE, case.torch_version or "")
    specs = [f"autoawq[kernels]=={pin}"] + ([f"{PACKAGE}=={kernels}"] if kernels else [])
    yield Finding(
        code="AWQ-EXTRA-NEEDS-FLASH-ATTN",
        severity=Severity.WARNING,
        title=say("autoawq[kernels] from 0.2.7.post3 on makes pip compile flash-attn"),
        explanation=say(
            'Its extra "kernels" asks for flash-attn, which PyPI has as source only. '
            "{pin} is the last whose extra is autoawq-kernels alone: pin it, or install autoawq "
            "without the extra, which needs no compiled kernels.",
            pin=pin,
        ),
        evidence=("autoawq and flash-attn are not installed; the goal is to build",),
        fixes=(
            Fix(
                say("The last autoawq[kernels] without flash-attn"),
                (Commands(case).install(*specs),),
            ),
        ),
        confidence=Confidence.POSSIBLE,
    )


RULES = (extra_needs_flash_attn,)
