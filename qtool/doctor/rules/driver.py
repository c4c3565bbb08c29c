"""The NVIDIA driver: does it run what the installed torch was built with?"""

from collections.abc import Iterator

from qtool.doctor import facts
from qtool.doctor.case import Case
from qtool.doctor.finding import Finding, Fix, Goal, Severity
from qtool.doctor.fixes import gguf
from qtool.doctor.torch_sources import torch_fixes
from qtool.doctor.versions import number_tuple, parse_capability
from qtool.language.message import say

USUAL_BRANCH = 535
"""What Ubuntu has packaged for years, and every GPU from Maxwell on."""


def nvml_mismatch(case: Case) -> Iterator[Finding]:
    """Report a driver library and a kernel module of different versions (NVML error 18)."""
    snapshot = case.snapshot
    error = snapshot.nvml_error or ""
    versions = (snapshot.driver or "?", snapshot.driver_kernel or "?")
    are_different = "?" not in versions and versions[0] != versions[1]
    if "mismatch" not in error.lower() and not are_different:
        return
    evidence: tuple[str, ...] = (f"NVML: {error}",) if error else ()
    if are_different:
        evidence += (f"library {versions[0]}, kernel module {versions[1]}",)
    yield Finding(
        code="NVML-MISMATCH",
        severity=Severity.ERROR,
        title=say("The NVIDIA driver's library and its kernel module are of different versions"),
        explanation=say(
            "The driver was updated while its old kernel module stayed loaded, so no program can "
            "talk to the GPU (Driver/library version mismatch). A reboot loads the new module."
        ),
        evidence=evidence,
        fixes=(
            Fix(say("Reboot"), ("sudo reboot",)),
            Fix(
                say("Or reload the modules, with every program that uses the GPU closed"),
                (
                    "sudo rmmod nvidia_uvm nvidia_drm nvidia_modeset nvidia",
                    "sudo modprobe nvidia",
                ),
            ),
        ),
    )


def driver_too_old(case: Case) -> Iterator[Finding]:
    """Report a driver below the floor of torch's CUDA major version."""
    if not case.torch_cuda or case.driver_runs(case.torch_cuda[0]) is not False:
        return
    major = case.torch_cuda[0]
    floor = (case.driver_floor(major) or ("?", ()))[0]
    yield Finding(
        code="DRV-TOO-OLD-FOR-CUDA-MAJOR",
        severity=case.severity(
            Goal.GPTQ, Goal.AWQ, Goal.BNB, Goal.PLAIN, Goal.FLASH_ATTN, Goal.BUILD
        ),
        title=say(
            "Driver {driver} is too old for CUDA {major}, which torch brings",
            driver=case.snapshot.driver,
            major=major,
        ),
        explanation=say(
            "torch {torch} is built with CUDA {cuda}; "
            "programs of CUDA {major} need driver {floor} or newer. The CUDA version in the "
            "driver's own report is no limit within a major version, but across majors it is. "
            "torch therefore sees no GPU at all.",
            torch=case.torch_version,
            cuda=case.torch and case.torch.cuda,
            major=major,
            floor=floor,
        ),
        evidence=(f"driver {case.snapshot.driver}, needed {floor}",),
        fixes=(
            *torch_fixes(case, ">=2.0", say("Keep the driver: a torch that it can run")),
            *_newer_driver(case, floor),
        ),
    )


def limits_to_cuda11(case: Case) -> Iterator[Finding]:
    """Report a driver that runs CUDA 11 programs and nothing newer."""
    if case.driver_runs(11) is not True or case.driver_runs(12) is not False:
        return
    has_cuda11 = bool(case.torch_cuda) and case.torch_cuda is not None and case.torch_cuda[0] == 11
    floor = (case.driver_floor(12) or ("?", ()))[0]
    yield Finding(
        code="DRV-LIMITS-TO-CUDA11",
        severity=Severity.INFO if has_cuda11 else Severity.WARNING,
        title=say("Driver {driver} runs CUDA 11 builds only", driver=case.snapshot.driver),
        explanation=say(
            "CUDA 12 needs driver {floor}. Until it is updated only wheels of CUDA 11 (cu118) "
            "work: torch up to 2.7, and no wheel of auto-gptq or autoawq-kernels from PyPI since "
            "2024, for those are built with CUDA 12.",
            floor=floor,
        ),
        evidence=(f"driver {case.snapshot.driver}, needed for CUDA 12: {floor}",),
        fixes=(
            *(
                ()
                if has_cuda11
                else torch_fixes(case, ">=2.0", say("A torch built with CUDA 11.8"))
            ),
            *_newer_driver(case, floor),
        ),
    )


def _newer_driver(case: Case, floor: str) -> tuple[Fix, ...]:
    """Return how to get a newer driver; where none will come for a GPU, what is left to do."""
    if _is_beyond_support(case, floor):
        title = say("No newer driver supports this GPU: a GGUF on the CPU, with llama.cpp")
        return (gguf(case, title),)
    title = say("Update the driver to {floor} or newer", floor=floor)
    return (Fix(title, _driver_commands(case, floor)),)


def _driver_commands(case: Case, floor: str) -> tuple[str, ...]:
    branch = floor.partition(".")[0]
    if case.snapshot.os.is_wsl:  # a driver inside of WSL breaks the one that Windows lends it
        return (f"# on Windows, not in WSL: https://www.nvidia.com/drivers, {floor} or newer",)
    if case.snapshot.os.container:
        return (f"# on the host of this container: driver {floor} or newer",)
    distro = (case.snapshot.os.distro or "").lower()
    if "ubuntu" in distro or "mint" in distro:
        wanted = max(int(branch), USUAL_BRANCH) if branch.isdigit() else 580
        name = f"nvidia-driver-{min([wanted, *_last_branches(case)])}"
        return (f"sudo apt-get install -y {name}", "sudo reboot")
    if case.is_windows:
        return (f"# https://www.nvidia.com/drivers: version {floor} or newer",)
    return (f"# your distribution's package of NVIDIA driver {floor} or newer",)


def _is_beyond_support(case: Case, floor: str) -> bool:
    """Tell whether the drivers of ``floor`` no longer know one of the GPUs."""
    wanted = number_tuple(floor) or ()
    return any(wanted[:1] > (last,) for last in _last_branches(case))


def _last_branches(case: Case) -> Iterator[int]:
    """Yield the last branches of drivers that know the GPUs, of those that have one."""
    for row in facts.fact("gpus", "last_driver"):
        highest = parse_capability(row["highest"]) or (0, 0)
        if any(one <= highest for one in case.capabilities):
            yield (number_tuple(row["driver"]) or (0,))[0]


RULES = (nvml_mismatch, driver_too_old, limits_to_cuda11)
