"""Compiling for CUDA: is there an nvcc, and is it of torch's CUDA?"""

import re
from collections.abc import Iterator

from qtool.doctor.case import Case, runs_on
from qtool.doctor.commands import Commands
from qtool.doctor.finding import Finding, Fix, Goal, Severity
from qtool.doctor.rules.flash_attn import release_wheel
from qtool.doctor.toolkits import install_toolkit
from qtool.doctor.versions import capability_words, number_tuple
from qtool.language.message import say


def nvcc_missing(case: Case) -> Iterator[Finding]:
    """Report that something must be compiled for CUDA and there is no nvcc."""
    if case.snapshot.nvcc is not None or not case.torch_cuda or case.has_no_gpu:
        return
    severity = _need_of_nvcc(case)
    if severity is None:
        return
    yield Finding(
        code="NVCC-MISSING",
        severity=severity,
        title=say("There is no nvcc to compile CUDA code with"),
        explanation=say(
            "Compiling kernels needs the CUDA toolkit: the driver and torch bring none "
            '("CUDA_HOME environment variable is not set", "nvcc was not found"). Its major '
            "version must be that of torch's CUDA, {cuda}. Runtime "
            "images of Docker have no toolkit; devel images do.",
            cuda=case.torch and case.torch.cuda,
        ),
        evidence=("no nvcc on PATH, in CUDA_HOME or in /usr/local/cuda",),
        fixes=(
            Fix(
                say("The toolkit of torch's CUDA version"),
                install_toolkit(case, case.torch_cuda),
            ),
        ),
    )


def _need_of_nvcc(case: Case) -> Severity | None:
    """An error where compiling is the goal or flash-attn has no wheel; else of no interest."""
    if case.goal is Goal.BUILD:
        return Severity.ERROR
    if case.goal is not Goal.FLASH_ATTN or not case.lacks("flash-attn"):
        return None
    if any(one < (8, 0) for one in case.capabilities):
        return None
    return Severity.WARNING if release_wheel(case) else Severity.ERROR


def cuda_mismatch(case: Case) -> Iterator[Finding]:
    """Report an nvcc of another CUDA major than torch's."""
    present = number_tuple(case.snapshot.nvcc) if case.snapshot.nvcc else None
    if present is None or not case.torch_cuda or present[0] == case.torch_cuda[0]:
        return
    if not (case.goal is Goal.BUILD or _need_of_nvcc(case) or _gptq_must_be_built(case)):
        return
    yield Finding(
        code="BUILD-CUDA-MISMATCH",
        severity=Severity.ERROR if case.goal is Goal.BUILD else Severity.WARNING,
        title=say(
            "nvcc is of CUDA {nvcc}, torch of CUDA {cuda}",
            nvcc=case.snapshot.nvcc,
            cuda=case.torch and case.torch.cuda,
        ),
        explanation=say(
            'torch refuses to compile extensions with another major version of CUDA ("The '
            "detected CUDA version ({nvcc}) mismatches the version that was used to "
            'compile PyTorch ({cuda})"). Both toolkits can be '
            "installed side by side; CUDA_HOME chooses.",
            nvcc=case.snapshot.nvcc,
            cuda=case.torch and case.torch.cuda,
        ),
        evidence=(f"nvcc {case.snapshot.nvcc}", f"torch's CUDA {case.torch and case.torch.cuda}"),
        fixes=(
            Fix(
                say("The toolkit of torch's CUDA version, chosen by CUDA_HOME"),
                install_toolkit(case, case.torch_cuda),
            ),
        ),
    )


def arch_list(case: Case) -> Iterator[Finding]:
    """Report a TORCH_CUDA_ARCH_LIST that leaves the GPU out of what is going to be compiled."""
    value = case.snapshot.env_vars.get("TORCH_CUDA_ARCH_LIST", "")
    if case.goal not in (Goal.BUILD, Goal.FLASH_ATTN) or not value.strip():
        return
    archs = [arch for word in re.split(r"[;\s]+", value.strip()) for arch in _arch_names(word)]
    without = [g for g in case.gpus if g.capability and not runs_on(g.capability, archs)]
    if not archs or not without:
        return
    gpu = without[0]
    words = capability_words(gpu.capability or (0, 0))
    yield Finding(
        code="BUILD-ARCH-LIST",
        severity=Severity.ERROR if case.goal is Goal.BUILD else Severity.WARNING,
        title=say("TORCH_CUDA_ARCH_LIST leaves out the {gpu} ({words})", gpu=gpu.name, words=words),
        explanation=say(
            "What is compiled with it has code for {value} only, and on the {gpu} fails with \"no "
            'kernel image is available for execution on the device". Unset, torch compiles for '
            "the GPUs that are there.",
            value=value, gpu=gpu.name,
        ),
        evidence=(f"TORCH_CUDA_ARCH_LIST={value}", f"{gpu.name}: compute capability {words}"),
        fixes=(
            Fix(say("Name the GPU's own"),
                (Commands(case).export("TORCH_CUDA_ARCH_LIST", words),)),
        ),
    )  # fmt: skip


def _arch_names(word: str) -> tuple[str, ...]:
    """Return what ``8.6`` or ``9.0+PTX`` compiles, as torch names it."""
    match = re.fullmatch(r"(\d+)\.(\d)[af]?(\+PTX)?", word)
    if match is None:
        return ()
    number = f"{match[1]}{match[2]}"
    return (f"sm_{number}", *((f"compute_{number}",) if match[3] else ()))


def _gptq_must_be_built(case: Case) -> bool:
    return case.goal is Goal.GPTQ and case.snapshot.ext_files.get("auto-gptq") == ()


RULES = (nvcc_missing, cuda_mismatch, arch_list)
