"""The machine around the environment: two installers in one place, and GPUs out of reach."""

from collections.abc import Iterator

from qtool.doctor import facts
from qtool.doctor.case import Case
from qtool.doctor.commands import Commands
from qtool.doctor.finding import Confidence, Finding, Fix, Goal, Severity
from qtool.doctor.snapshot import UNKNOWN, canonical_name
from qtool.language.message import say

TORCH_GOALS = (Goal.GPTQ, Goal.AWQ, Goal.PLAIN, Goal.BNB, Goal.FLASH_ATTN, Goal.BUILD)
_NAMES_OF_CONDA = {"pytorch": "torch", "pytorch-gpu": "torch", "pytorch-cpu": "torch"}
"""Packages that conda calls otherwise than PyPI."""


def conda_and_pip(case: Case) -> Iterator[Finding]:
    """Report packages that conda has installed and pip has replaced, of those that matter here."""
    replaced = _replaced(case)
    if not replaced:
        return
    first, *_ = replaced
    others = replaced[first]
    pins = [f"{name}=={versions[1]}" for name, versions in replaced.items()]
    in_conda = " ".join(_conda_name(case, name) for name in replaced)
    again = Commands(case).install("--force-reinstall", "--no-deps", *pins)
    yield Finding(
        code="CONDA-PIP-MIXED",
        severity=Severity.WARNING,
        title=say(
            "conda has installed {name} {version}, and pip has replaced it by {other}",
            name=first,
            version=others[0],
            other=others[1],
        ),
        explanation=say(
            "conda knows nothing of what pip does: its files lie among pip's, and its next install "
            "or update writes over them. Such an environment breaks without anybody having touched "
            "what breaks. Let one of the two have each package: here pip has the newer word."
        ),
        evidence=tuple(
            f"{name}: {versions[0]} in conda-meta, {versions[1]} in site-packages"
            for name, versions in replaced.items()
        ),
        fixes=(
            Fix(
                say("Take them from conda, and install pip's files once more"),
                (f"conda remove --force -y {in_conda}", again),
            ),
        ),
    )


def _replaced(case: Case) -> dict[str, tuple[str, str]]:
    """Return conda's and pip's version by name where they differ, build suffixes apart."""
    names = facts.fact("requirements", "of_interest")
    dists = {} if case.snapshot.dists is UNKNOWN else case.snapshot.dists
    found = {}
    for conda_name, version in (case.snapshot.conda or {}).items():
        name = _NAMES_OF_CONDA.get(conda_name, canonical_name(conda_name))
        installed = dists.get(name)
        if name not in names or installed is None:
            continue
        if installed.partition("+")[0] != version.partition("+")[0]:
            found[name] = (version, installed)
    return found


def _conda_name(case: Case, name: str) -> str:
    known = case.snapshot.conda or {}
    own = (one for one, of_pip in _NAMES_OF_CONDA.items() if of_pip == name and one in known)
    return name if name in known else next(own, name)


def wsl_1(case: Case) -> Iterator[Finding]:
    """Warn of WSL 1, which shows Linux no GPU."""
    if case.snapshot.os.wsl_version != 1 or not case.wants(*TORCH_GOALS, Goal.GGUF):
        return
    yield Finding(
        code="WSL-1-NO-GPU",
        severity=Severity.WARNING,
        title=say("This is WSL 1, in which no program can reach the GPU"),
        explanation=say(
            "Only WSL 2 has a Linux kernel of its own and the device that hands the GPU of Windows "
            "on to it. Converting keeps every file; it takes some minutes."
        ),
        evidence=("the kernel's release names Microsoft, but not WSL2, and there is no /dev/dxg",),
        fixes=(
            Fix(
                say("In PowerShell, with the distribution's name as `wsl -l` has it"),
                ("wsl --set-version Ubuntu 2",),
            ),
        ),
    )


def container_without_gpu(case: Case) -> Iterator[Finding]:
    """Say that a container was started without the GPU that it is made for."""
    container = case.snapshot.os.container
    wish = case.snapshot.env_vars.get("NVIDIA_VISIBLE_DEVICES", "")
    is_asked = bool(wish) and wish not in ("void", "none")
    has_nothing = not case.snapshot.gpus and case.has_no_gpu and not case.snapshot.driver
    if not container or not has_nothing or not case.wants(*TORCH_GOALS, Goal.GGUF):
        return
    if not is_asked and not case.torch_cuda:
        return
    yield Finding(
        code="CONTAINER-NO-GPU",
        severity=Severity.WARNING if is_asked else Severity.INFO,
        title=say("This container sees no GPU"),
        explanation=say(
            "Its image is made for CUDA, and there is neither a driver nor a GPU in it: both come "
            "from the host, if that has NVIDIA's container toolkit and the container is started "
            "with its GPUs. All that follows is about the CPU."
        ),
        evidence=(
            f"container: {container}",
            f"NVIDIA_VISIBLE_DEVICES={wish}" if is_asked else f"torch {case.torch_version}",
        ),
        fixes=(Fix(say("On a host that has a GPU, start it with it"), (_with_gpus(container),)),),
        confidence=Confidence.LIKELY,
    )


def _with_gpus(container: str) -> str:
    if container == "podman":
        return "# on the host: podman run --device nvidia.com/gpu=all IMAGE"
    return "# on the host: docker run --gpus all IMAGE"


def idle_amd_gpu(case: Case) -> Iterator[Finding]:
    """Say that torch does not use the AMD GPU that is there."""
    cards = [one for one in case.snapshot.accelerators or () if one.vendor == "AMD"]
    has_other_work = case.torch is None or case.torch.hip or bool(case.gpus)
    if not cards or has_other_work or not case.wants(*TORCH_GOALS):
        return
    name = cards[0].name or "AMD GPU"
    yield Finding(
        code="TORCH-NOT-FOR-AMD",
        severity=Severity.INFO,
        title=say("torch {version} does not use the {gpu}", version=case.torch_version, gpu=name),
        explanation=say(
            "It is a build for CUDA or for the CPU. AMD's GPUs need one for ROCm, from PyTorch's "
            "index for the ROCm that the driver serves, and kernels of auto-gptq and autoawq are "
            "made for NVIDIA. llama.cpp runs GGUF on AMD's GPUs through Vulkan or ROCm."
        ),
        evidence=(f"{name} {cards[0].arch or ''}".rstrip(), f"ROCm: {case.snapshot.rocm or '-'}"),
        fixes=(),
    )


RULES = (conda_and_pip, wsl_1, container_without_gpu, idle_amd_gpu)
