"""The GPU against the binaries: too new for torch, too old, or slow at what is asked."""

from collections.abc import Iterator

from qtool.doctor import facts
from qtool.doctor.case import Case, GpuFacts, runs_on
from qtool.doctor.commands import serving_indexes
from qtool.doctor.finding import Confidence, Finding, Fix, Goal, Severity
from qtool.doctor.fixes import gguf, some
from qtool.doctor.snapshot import UNKNOWN
from qtool.doctor.torch_sources import torch_fixes
from qtool.doctor.versions import Capability, capability_words, parse_arch, parse_capability
from qtool.language.message import Message, say, together

HALF_PRECISION_GOALS = (Goal.GPTQ, Goal.AWQ, Goal.PLAIN, Goal.BNB)


def torch_architecture(case: Case) -> Iterator[Finding]:
    """Report GPUs for which the installed torch holds no code."""
    archs = case.torch.arch_list if case.torch else UNKNOWN
    if archs is UNKNOWN or not archs or not case.gpus:
        return
    built = sorted(parsed[1] for parsed in map(parse_arch, archs) if parsed)
    if not built:
        return
    without = [g for g in case.gpus if g.capability and not runs_on(g.capability, archs)]
    if older := [g for g in without if g.capability and g.capability < built[0]]:
        yield _older(case, older, archs)
    if newer := [g for g in without if g.capability and g.capability > built[0]]:
        yield _newer(case, newer, archs)


def _severity(case: Case, without: list[GpuFacts]) -> Severity:
    """A GPU that torch cannot use is an error unless another one does the work."""
    if case.goal is Goal.GGUF:
        return Severity.INFO
    return Severity.ERROR if len(without) == len(case.gpus) else Severity.WARNING


def _where(case: Case) -> Message:
    """Say which of PyTorch's indexes have code for the GPUs and suit the driver."""
    tags = list(dict.fromkeys(index.tag or "" for index in serving_indexes(case)))
    if not tags:
        return say("No index of PyTorch's has one for this GPU and driver.")
    named = together(tags[:2], say(" or "))
    return say("Wheels for it come from PyTorch's index {tags}.", tags=named)


def _newer(case: Case, gpus: list[GpuFacts], archs: tuple[str, ...]) -> Finding:
    gpu = gpus[0]
    capability = gpu.capability or (0, 0)
    arch = f"sm_{capability[0]}{capability[1]}"
    return Finding(
        code="GPU-NEWER-THAN-TORCH",
        severity=_severity(case, gpus),
        title=say(
            "torch has no code for the {gpu} ({arch}): the GPU is newer", gpu=gpu.name, arch=arch
        ),
        explanation=say(
            "The {gpu} has compute capability {capability} ({arch}); this "
            'torch holds code for {names} only, and fails with "no kernel image is '
            'available for execution on the device". {where}',
            gpu=gpu.name,
            capability=capability_words(capability),
            arch=arch,
            names=" ".join(archs),
            where=_where(case),
        ),
        evidence=(
            f"compute capability {capability_words(capability)}",
            f"torch: {' '.join(archs)}",
        ),
        fixes=torch_fixes(case, ">=2.7", say("A torch with code for {arch}", arch=arch)),
    )


def _older(case: Case, gpus: list[GpuFacts], archs: tuple[str, ...]) -> Finding:
    gpu = gpus[0]
    capability = capability_words(gpu.capability or (0, 0))
    return Finding(
        code="GPU-OLDER-THAN-TORCH",
        severity=_severity(case, gpus),
        title=say(
            "torch no longer has code for the {gpu} (compute capability {capability})",
            gpu=gpu.name,
            capability=capability,
        ),
        explanation=say(
            "The {gpu} has compute capability {capability}; this torch holds code for "
            "{names} only. Newer CUDA versions dropped older GPUs, so the CUDA in the "
            "wheel decides, not the release of torch. {where}",
            gpu=gpu.name,
            capability=capability,
            names=" ".join(archs),
            where=_where(case),
        ),
        evidence=(f"compute capability {capability}", f"torch: {' '.join(archs)}"),
        fixes=torch_fixes(
            case, ">=2.6", say("The same generation of torch, with code for this GPU")
        )
        or torch_fixes(case, ">=2.0", say("A torch with code for this GPU"))
        or (gguf(case, say("No torch 2 has code for this GPU: a GGUF with llama.cpp")),),
    )


def slow_half_precision(case: Case) -> Iterator[Finding]:
    """Warn of GPUs that compute fp16 at 1/64 of their fp32 rate."""
    slow: list[Capability | None] = [
        parse_capability(text) for text in facts.fact("features", "slow_fp16")
    ]
    affected = [gpu for gpu in case.gpus if gpu.capability in slow]
    if not affected or not case.wants(*HALF_PRECISION_GOALS):
        return
    gpu = affected[0]
    others = [i for i, other in enumerate(case.gpus) if other not in affected]
    choose = (
        Fix(
            say("Or leave that GPU out"),
            (f"export CUDA_VISIBLE_DEVICES={','.join(map(str, others))}",),
        )
        if others
        else None
    )
    yield Finding(
        code="GPU-PASCAL-SLOW-FP16",
        severity=Severity.WARNING,
        title=say("The {gpu} computes fp16 at 1/64 of its speed", gpu=gpu.name),
        explanation=say(
            "The {gpu} has compute capability 6.1, whose fp16 units run at 1/64 of the fp32 "
            "rate. GPTQ kernels and half-precision models compute in fp16, and crawl (under one "
            "token per second). llama.cpp computes with integers and fp32 there, and is fast.",
            gpu=gpu.name,
        ),
        evidence=(f"{gpu.name}: compute capability 6.1",),
        fixes=some(gguf(case), choose),
        confidence=Confidence.LIKELY,
    )


RULES = (torch_architecture, slow_half_precision)
