"""What surrounds the packages: GPUs that are hidden, CUDA libraries in each other's way."""

import re
from collections.abc import Iterator

from qtool.doctor.case import Case
from qtool.doctor.commands import Commands
from qtool.doctor.finding import Confidence, Finding, Fix, Goal, Severity
from qtool.doctor.snapshot import UNKNOWN
from qtool.doctor.versions import number_tuple
from qtool.language.message import say

GPU_GOALS = (Goal.GPTQ, Goal.AWQ, Goal.BNB, Goal.PLAIN, Goal.FLASH_ATTN, Goal.GGUF)
_RUNTIME = re.compile(r"(nvidia-[a-z-]+)-cu(\d+)")
_CUDA_FOLDER = re.compile(r"cuda-(\d+)\.(\d+)(?=/|$)")


def gpu_hidden(case: Case) -> Iterator[Finding]:
    """Say that CUDA_VISIBLE_DEVICES hides every GPU."""
    value = case.snapshot.env_vars.get("CUDA_VISIBLE_DEVICES")
    if value is None or not case.snapshot.gpus or case.gpus or not case.wants(*GPU_GOALS):
        return
    names = ", ".join(gpu.name or "NVIDIA GPU" for gpu in case.snapshot.gpus)
    yield Finding(
        code="GPU-HIDDEN",
        severity=Severity.WARNING,
        title=say("CUDA_VISIBLE_DEVICES hides every GPU of this machine"),
        explanation=say(
            "Programs that use CUDA see only the GPUs that this variable names, and from its value "
            "on the first one that does not exist nothing. With {value} they see none, so all that "
            "follows is about the CPU. If that is not what you want, unset it.",
            value=repr(value),
        ),
        evidence=(f"CUDA_VISIBLE_DEVICES={value!r}; GPUs: {names}",),
        fixes=(Fix(say("Show the GPUs again"), (_unset(case, "CUDA_VISIBLE_DEVICES"),)),),
    )


def _unset(case: Case, name: str) -> str:
    return f"Remove-Item Env:{name}" if case.is_windows else f"unset {name}"


def runtimes_mixed(case: Case) -> Iterator[Finding]:
    """Report wheels of CUDA 11 and CUDA 12 that share folders."""
    dists = {} if case.snapshot.dists is UNKNOWN else case.snapshot.dists
    majors: dict[str, set[str]] = {}
    for name in dists:
        if match := _RUNTIME.fullmatch(name):
            majors.setdefault(match[1], set()).add(match[2])
    shared = sorted(name for name, found in majors.items() if {"11", "12"} <= found)
    if not shared or not case.torch_cuda or case.torch_cuda[0] not in (11, 12):
        return
    own, other = ("11", "12") if case.torch_cuda[0] == 11 else ("12", "11")
    extra = sorted(f"{name}-cu{other}" for name, found in majors.items() if other in found)
    mine = [f"{name}-cu{own}" for name in shared]
    commands = Commands(case)
    pinned = [f"{name}=={dists[name]}" for name in mine]
    yield Finding(
        code="CUDA-RUNTIMES-MIXED",
        severity=Severity.WARNING,
        title=say("CUDA libraries of two versions are installed over each other (cu11 and cu12)"),
        explanation=say(
            "{names} exist for both CUDA versions and write into the same folders, so files of one "
            "replace files of the other, and removing one takes files from the other. torch "
            "{torch} needs those of CUDA {own}; then libcudnn or libcublas is missing, or of the "
            "wrong version.",
            names=", ".join(shared), torch=case.torch_version, own=own,
        ),
        evidence=tuple(f"{name} {dists[name]}" for name in (*mine, *extra)),
        fixes=(
            Fix(
                say("Remove those of the other version, and put torch's own back"),
                (
                    commands.uninstall(*extra),
                    commands.install("--force-reinstall", "--no-deps", *pinned),
                ),
            ),
        ),
        confidence=Confidence.LIKELY,
    )  # fmt: skip


def library_path(case: Case) -> Iterator[Finding]:
    """Warn of an older CUDA in LD_LIBRARY_PATH, which goes before the libraries torch brings."""
    value = case.snapshot.env_vars.get("LD_LIBRARY_PATH", "")
    wanted = case.torch_cuda
    if not wanted or not case.gpus or len(wanted) < 2 or not case.wants(*GPU_GOALS):
        return
    folders = [part for part in value.split(":") if _is_older(part, wanted)]
    if not folders:
        return
    rest = ":".join(part for part in value.split(":") if part and part not in folders)
    yield Finding(
        code="LD-LIBRARY-PATH-CUDA",
        severity=Severity.WARNING,
        title=say("LD_LIBRARY_PATH names an older CUDA than torch's {cuda}",
                  cuda=".".join(map(str, wanted[:2]))),
        explanation=say(
            "The loader looks there before it looks where torch's wheels have their own libraries, "
            'and finds older ones of the same name ("undefined symbol: __nvJitLinkAddData", '
            '"libcudnn … version mismatch"). torch from a wheel needs no CUDA in that variable.'
        ),
        evidence=tuple(f"LD_LIBRARY_PATH has {folder}" for folder in folders),
        fixes=(
            Fix(
                say("Take it out of the variable"),
                (f'export LD_LIBRARY_PATH="{rest}"' if rest else "unset LD_LIBRARY_PATH",),
            ),
        ),
        confidence=Confidence.LIKELY,
    )  # fmt: skip


def _is_older(folder: str, wanted: tuple[int, ...]) -> bool:
    match = _CUDA_FOLDER.search(folder)
    version = number_tuple(f"{match[1]}.{match[2]}") if match else None
    return version is not None and version < wanted[:2]


RULES = (gpu_hidden, runtimes_mixed, library_path)
