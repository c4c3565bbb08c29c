"""flash-attn: GPUs too old, GPUs it thinks too new, and a torch it was not built for."""

from collections.abc import Iterator

from qtool.doctor import facts
from qtool.doctor.case import Case
from qtool.doctor.commands import Commands
from qtool.doctor.finding import Confidence, Finding, Fix, Goal, Severity
from qtool.doctor.fixes import gguf, python_is_within, some
from qtool.doctor.kernels import KernelState, flash_attn_kernels
from qtool.doctor.versions import capability_words, is_within
from qtool.language.message import say

SDPA_ON_CPU = (
    '# in your code: AutoModelForCausalLM.from_pretrained(path, attn_implementation="sdpa")'
)


def no_gpu(case: Case) -> Iterator[Finding]:
    """Say that flash-attn is of no use without an NVIDIA GPU, where it is the goal."""
    if case.goal is not Goal.FLASH_ATTN or not case.has_no_gpu:
        return
    yield Finding(
        code="FA-NO-GPU",
        severity=Severity.WARNING,
        title=say(
            "flash-attn needs an NVIDIA GPU of compute capability 8.0 or newer; there is none"
        ),
        explanation=say(
            "flash-attn 2 is CUDA code for Ampere (8.0) and newer GPUs. Without one there is "
            "nothing to install: PyTorch's own attention (sdpa) serves the CPU, and llama.cpp has "
            "a flash attention of its own."
        ),
        evidence=("no NVIDIA GPU",),
        fixes=some(
            Fix(say("Use PyTorch's attention"), (SDPA_ON_CPU,)),
            gguf(case, say("Or a GGUF with llama.cpp, the fastest on a CPU")),
        ),
    )


def capability_too_low(case: Case) -> Iterator[Finding]:
    """Report GPUs below compute capability 8.0, where something asks for flash-attn."""
    lowest = facts.capability("flash_attn", "lowest_capability")
    too_old = [gpu for gpu in case.gpus if gpu.capability and gpu.capability < lowest]
    is_asked = case.goal is Goal.FLASH_ATTN
    if not too_old or not (is_asked or case.has("flash-attn")):
        return
    is_usable = len(too_old) < len(case.gpus)
    words = capability_words(too_old[0].capability or (0, 0))
    severity = Severity.WARNING if is_usable else Severity.ERROR
    uninstall = Commands(case).uninstall("flash-attn")
    yield Finding(
        code="FA-CC-TOO-LOW",
        severity=severity if is_asked else Severity.INFO,
        title=say(
            "flash-attn is not for the {gpu} (compute capability {words})",
            gpu=too_old[0].name,
            words=words,
        ),
        explanation=say(
            "flash-attn 2 needs compute capability 8.0 (Ampere); the {gpu} has "
            '{words} and answers "FlashAttention only supports Ampere GPUs or newer". No '
            "version of it will change that. PyTorch's own attention (sdpa) runs on this GPU, in "
            "float16: bfloat16 needs 8.0 as well.",
            gpu=too_old[0].name,
            words=words,
        ),
        evidence=(f"{too_old[0].name}: compute capability {words}",),
        fixes=some(
            Fix(
                say('Use PyTorch\'s attention: attn_implementation="sdpa" and float16'),
                (
                    "# in your code: AutoModelForCausalLM.from_pretrained(path, "
                    'attn_implementation="sdpa", torch_dtype=torch.float16)',
                ),
            ),
            Fix(say("And remove it, so that nothing finds it"), (uninstall,))
            if case.has("flash-attn")
            else None,
        ),
    )


def refuses_newer_gpu(case: Case) -> Iterator[Finding]:
    """Report a flash-attn whose check refuses GPUs newer than Hopper."""
    if not case.has_within("flash-attn", facts.fact("flash_attn", "refuses_newer_gpus")):
        return
    newer = [gpu for gpu in case.gpus if gpu.capability and gpu.capability >= (10, 0)]
    if not newer:
        return
    words = capability_words(newer[0].capability or (0, 0))
    commands = Commands(case)
    yield Finding(
        code="FA-BLACKWELL-OLD-CHECK",
        severity=_severity(case),
        title=say(
            "flash-attn {flash_attn} takes the {gpu} for too old",
            flash_attn=case.version("flash-attn"),
            gpu=newer[0].name,
        ),
        explanation=say(
            "Up to 2.7.2 flash-attn tests for compute capability 8.x and 9.0 by name, so the "
            '{gpu} ({words}) gets "FlashAttention only supports Ampere GPUs or '
            'newer" although it is too new, not too old. 2.7.3 is the first that lets it in.',
            gpu=newer[0].name,
            words=words,
        ),
        evidence=(f"flash-attn {case.version('flash-attn')}", f"compute capability {words}"),
        fixes=some(
            Fix(
                say("A flash-attn with code for this GPU"),
                (
                    commands.install("packaging", "psutil", "ninja", "wheel"),
                    commands.install(
                        "--upgrade", "--no-build-isolation", "--no-cache-dir", "flash-attn>=2.7.3"
                    ),
                ),
            ),
            Fix(
                say('Or PyTorch\'s own attention: attn_implementation="sdpa"'),
                (commands.uninstall("flash-attn"),),
            ),
        ),
    )


def abi(case: Case) -> Iterator[Finding]:
    """Report a flash-attn that was built for another torch or the other C++ ABI."""
    if not case.has("flash-attn"):
        return
    report = flash_attn_kernels(case)
    if report.state is not KernelState.BROKEN:
        return
    words = report.built_for or say("another torch or the other C++ ABI")
    yield Finding(
        code="FA-ABI",
        severity=_severity(case),
        title=say(
            "flash-attn {flash_attn} does not load on torch {torch}",
            flash_attn=case.version("flash-attn"),
            torch=case.torch_version,
        ),
        explanation=say(
            "Its module was built for {words} and asks torch {torch} for symbols "
            "that it does not have. A wheel of flash-attn fits one minor release of torch and one "
            "C++ ABI (cxx11abiTRUE or FALSE in its name).",
            words=words,
            torch=case.torch_version,
        ),
        evidence=report.evidence,
        fixes=some(
            _matching(case),
            Fix(
                say('Or PyTorch\'s own attention: attn_implementation="sdpa"'),
                (Commands(case).uninstall("flash-attn"),),
            ),
        ),
    )


def _severity(case: Case) -> Severity:
    """A broken flash-attn also breaks plain models: transformers imports it when it is there."""
    return case.severity_of_kernels(Goal.FLASH_ATTN, Goal.BUILD, otherwise=Severity.WARNING)


def release_wheel(case: Case) -> str | None:
    """Return the newest flash-attn with a release wheel for this torch, Python and system."""
    platform = facts.fact("flash_attn", "release_wheel_platform")
    if not case.is_linux_x86 or not python_is_within(case, platform["pythons"]):
        return None
    rows = [
        row
        for row in facts.fact("flash_attn", "release_wheels")
        if is_within(case.torch_version, row["torch"])
        and case.torch_cuda
        and str(case.torch_cuda[0]) == row["cuda"]
    ]
    return str(rows[-1]["version"]) if rows and not case.has_vendor_torch else None


def _matching(case: Case) -> Fix:
    """Install the flash-attn that fits; its setup.py fetches the release wheel where one is."""
    commands = Commands(case)
    version = release_wheel(case)
    spec = f"flash-attn=={version}" if version else "flash-attn"
    title = say("Build it against the installed torch")
    if version:
        title = say(
            "flash-attn {version}, which has a wheel for torch {torch}",
            version=version,
            torch=case.torch_version,
        )
    return Fix(
        title,
        (
            commands.uninstall("flash-attn"),
            commands.install("packaging", "psutil", "ninja", "wheel"),
            commands.install("--no-build-isolation", "--no-cache-dir", spec),
        ),
    )


def build_isolation(case: Case) -> Iterator[Finding]:
    """Warn that flash-attn's build needs the torch of the environment."""
    if case.goal not in (Goal.BUILD, Goal.FLASH_ATTN) or not case.lacks("flash-attn"):
        return
    lowest = facts.capability("flash_attn", "lowest_capability")
    if not case.has("torch") or any(one < lowest for one in case.capabilities):
        return
    if case.goal is Goal.FLASH_ATTN and case.has_no_gpu:
        return
    commands = Commands(case)
    spec = f"flash-attn=={release_wheel(case)}" if release_wheel(case) else "flash-attn"
    yield Finding(
        code="FA-BUILD-ISOLATION",
        severity=Severity.INFO if case.has_no_gpu else Severity.WARNING,
        title=say("Installing flash-attn needs --no-build-isolation"),
        explanation=say(
            "PyPI has flash-attn as source only, and its setup.py imports torch, which pip's build "
            "isolation hides (\"No module named 'torch'\"). Without isolation it also sees which "
            "torch there is, and fetches the release wheel for it where one exists."
        ),
        evidence=(f"torch {case.torch_version} is installed, flash-attn is not",),
        fixes=(
            Fix(
                say("Install its build tools, then flash-attn against the installed torch"),
                (
                    commands.install("packaging", "psutil", "ninja", "wheel"),
                    commands.install("--no-build-isolation", spec),
                ),
            ),
        ),
        confidence=Confidence.POSSIBLE,
    )


RULES = (no_gpu, capability_too_low, refuses_newer_gpu, abi, build_isolation)
