"""torch itself: its build, its companions, and the packages it cannot live with."""

import re
from collections.abc import Iterator
from dataclasses import replace

from qtool.doctor import facts
from qtool.doctor.case import Case
from qtool.doctor.commands import Commands, companion, torch_index_url
from qtool.doctor.described import format_of
from qtool.doctor.finding import Confidence, Finding, Fix, Goal, Severity
from qtool.doctor.fixes import gguf, legacy_awq, legacy_gptq, modern, some
from qtool.doctor.proven_sets import environment_for, proven_set
from qtool.doctor.repacked import runs_repacked
from qtool.doctor.snapshot import UNKNOWN
from qtool.doctor.torch_sources import torch_fixes, torch_for_python
from qtool.doctor.versions import is_within, minor_release
from qtool.language.message import say, together
from qtool.models.loaders import MINIMUM_TRANSFORMERS

TORCH_OF_TRANSFORMERS_5 = ">=2.4"
OLDEST_TRANSFORMERS = f">={MINIMUM_TRANSFORMERS}"
JETSON_TORCH = "https://docs.nvidia.com/deeplearning/frameworks/install-pytorch-jetson-platform/"
NEEDS_TORCH = (Goal.GPTQ, Goal.AWQ, Goal.BNB, Goal.PLAIN, Goal.FLASH_ATTN)


def cpu_only(case: Case) -> Iterator[Finding]:
    """Report a CPU build of torch on a machine with an NVIDIA GPU."""
    if not case.has_cpu_torch or not case.gpus:
        yield from _cuda_asked_of_cpu(case)
        return
    range_ = _same_minor(case) or ">=2.0"
    fixes = (
        _for_jetson(case)
        or _with_kernels_that_load(case)
        or torch_fixes(case, range_, say("The same torch, built with CUDA"))
        or torch_fixes(case, ">=2.0", say("A torch built with CUDA for this GPU and driver"))
    )
    yield Finding(
        code="TORCH-CPU-ONLY",
        severity=case.severity(*NEEDS_TORCH, Goal.BUILD),
        title=say("torch is a CPU build, although there is an NVIDIA GPU"),
        explanation=say(
            "torch {torch} was built without CUDA, so nothing of torch's world uses "
            'the {gpu} ("Torch not compiled with CUDA enabled"). pip keeps an '
            "installed CPU build when asked for torch again: it has to be removed first.",
            torch=case.torch_version,
            gpu=case.gpus[0].name,
        ),
        evidence=(
            "torch/version.py: cuda = None",
            f"GPU: {', '.join(gpu.name for gpu in case.gpus)}",
        ),
        fixes=fixes,
    )


def _for_jetson(case: Case) -> tuple[Fix, ...]:
    """Say where a Jetson's torch comes from: no index of PyTorch's has one for it."""
    if not case.snapshot.os.is_jetson:
        return ()
    release = f" (L4T {case.snapshot.os.l4t})" if case.snapshot.os.l4t else ""
    where = f"# for your JetPack{release}: {JETSON_TORCH}"
    title = say("NVIDIA's own torch for Jetson")
    return (Fix(title, (Commands(case).uninstall("torch"), where)), gguf(case))


def _with_kernels_that_load(case: Case) -> tuple[Fix, ...]:
    """Return how to change torch together with the kernels that are there, which would not load on
    the same torch with CUDA; empty where they would, or nothing wants them."""
    for goal, package, legacy in (
        (Goal.GPTQ, "auto-gptq", legacy_gptq),
        (Goal.AWQ, "autoawq-kernels", legacy_awq),
    ):
        built = facts.built_for(package, case.version(package) or "")
        is_listed = bool(case.snapshot.ext_files.get(package))
        if not case.wants(goal) or built is None or not is_listed or case.has_vendor_torch:
            continue
        if not is_within(case.torch_version, built.torch):
            return some(modern(case), legacy(case))
    return ()


def _cuda_asked_of_cpu(case: Case) -> Iterator[Finding]:
    """Report that a program asked a CPU build for CUDA where there is no NVIDIA GPU."""
    results = {} if case.snapshot.import_results is UNKNOWN else case.snapshot.import_results
    said = next((text for text in results.values() if "not compiled with CUDA" in text), None)
    if said is None or not case.has_cpu_torch:
        return
    yield Finding(
        code="TORCH-CPU-ONLY",
        severity=case.severity(*NEEDS_TORCH, Goal.BUILD),
        title=say("CUDA was asked of a torch that is a CPU build, and there is no NVIDIA GPU"),
        explanation=say(
            "torch {torch} was built without CUDA, as it should be here; the program says device "
            '"cuda" all the same. Without an NVIDIA GPU no build of torch changes that: let it '
            "compute on the CPU (on an Apple computer: mps), or run a GGUF with llama.cpp.",
            torch=case.torch_version,
        ),
        evidence=(said, "no NVIDIA GPU"),
        fixes=(
            Fix(say("Compute where there is something to compute on"),
                ('# in your code: device_map="auto", or device="cpu"',)),
            gguf(case),
        ),
    )  # fmt: skip


def _same_minor(case: Case) -> str | None:
    release = minor_release(case.torch_version)
    return f">={release[0]}.{release[1]},<{release[0]}.{release[1] + 1}" if release else None


def vendor_build(case: Case) -> Iterator[Finding]:
    """Say that version ranges do not apply to a vendor's own torch."""
    if not case.has_vendor_torch:
        return
    yield Finding(
        code="TORCH-VENDOR-BUILD",
        severity=Severity.WARNING,
        title=say("torch {torch} is a vendor's own build", torch=case.torch_version),
        explanation=say(
            "NVIDIA's containers and Jetson wheels are built from commits between releases. "
            "Which compiled packages load on it cannot be told from its version, only from "
            "symbols; replacing it by a wheel from PyPI may lose support of this hardware."
        ),
        evidence=(f"torch {case.torch_version}",),
    )


def companion_mismatch(case: Case) -> Iterator[Finding]:
    """Report torchvision or torchaudio made for another torch."""
    if case.torch_version is None or case.has_vendor_torch:
        return
    wrong = [name for name in ("torchvision", "torchaudio") if _is_out_of_step(case, name)]
    if not wrong:
        return
    pairs = [f"{name}=={wanted}" for name in wrong if (wanted := _wanted(case, name))]
    yield Finding(
        code="TORCHVISION-MISMATCH",
        severity=Severity.ERROR if case.goal is not Goal.GGUF else Severity.INFO,
        title=say(
            "{names} belong to another torch than {torch}",
            names=together(wrong, say(" and ")),
            torch=case.torch_version,
        ),
        explanation=say(
            "torchvision and torchaudio are compiled for one release of torch each. Out of step "
            'they fail with "operator torchvision::nms does not exist", and transformers fails '
            "with them, for it imports torchvision where it is installed. Here another package "
            "probably changed torch alone."
        ),
        evidence=tuple(
            f"{name} {case.version(name)} with torch {case.torch_version}, "
            f"which goes with {name} {_wanted(case, name)}"
            for name in wrong
        ),
        fixes=(
            Fix(
                say("Bring them in step"),
                (Commands(case).install("--no-deps", *pairs, *_index_of_torch(case)),),
            ),
            Fix(say("Or remove what text models do not need"), (Commands(case).uninstall(*wrong),)),
        ),
    )


def _index_of_torch(case: Case) -> tuple[str, ...]:
    """Return where torch's companions come from, if not from the default index.

    They have to be of torch's own CUDA major version, or for the CPU as it is; PyPI has one kind.
    """
    version = case.torch_version or ""
    tag, cuda = version.partition("+")[2], case.torch_cuda
    if not re.fullmatch(r"cpu|cu\d{3}|rocm\d[\d.]*", tag):
        return ()
    same = (one for one in facts.pypi_torch() if cuda and one.cuda_major == cuda[0])
    if case.is_linux_x86 and any(is_within(version, one.torch) for one in same):
        return ()
    return ("--index-url", f"{torch_index_url(case)}{tag}")


def _wanted(case: Case, name: str) -> str | None:
    return companion(name, case.torch_version or "")


def _is_out_of_step(case: Case, name: str) -> bool:
    wanted = _wanted(case, name)
    installed = case.version(name)
    if wanted is None or installed is None:
        return False
    return minor_release(installed) != minor_release(wanted)


def numpy_2(case: Case) -> Iterator[Finding]:
    """Report numpy 2 with a torch compiled against numpy 1."""
    is_old = is_within(case.torch_version, facts.fact("torch", "numpy1_only"))
    if not is_old or not case.has_within("numpy", ">=2") or case.has_vendor_torch:
        return
    yield Finding(
        code="NUMPY2-WITH-OLD-TORCH",
        severity=case.severity(*NEEDS_TORCH, Goal.BUILD),
        title=say(
            "torch {torch} cannot use numpy {numpy}",
            torch=case.torch_version,
            numpy=case.version("numpy"),
        ),
        explanation=say(
            'torch up to 2.2 is compiled against numpy 1. With numpy 2 it warns "A module that '
            'was compiled using NumPy 1.x cannot be run in NumPy 2" and fails later with "Numpy '
            'is not available".'
        ),
        evidence=(f"torch {case.torch_version}, numpy {case.version('numpy')}",),
        fixes=some(Fix(say("Go back to numpy 1"), (Commands(case).install("numpy<2"),))),
        confidence=Confidence.LIKELY,
    )


def torch_missing(case: Case) -> Iterator[Finding]:
    """Say that torch is missing where the goal needs it."""
    if case.goal not in NEEDS_TORCH or not case.lacks("torch") or case.torch is not None:
        return
    if runs_repacked(case):
        return  # llama.cpp runs the model, and needs no torch
    if case.snapshot.torch is UNKNOWN and case.snapshot.dists is UNKNOWN:
        return
    if torch_for_python(case) is None:
        return  # that is a finding of its own
    if case.goal is Goal.FLASH_ATTN and not _has_gpu_for_flash_attn(case):
        return
    form = format_of(case.goal)
    own = environment_for(case, form) if form else None
    where = say("the CPU") if case.has_no_gpu else say("this GPU and driver")
    yield Finding(
        code="TORCH-MISSING",
        severity=Severity.INFO if own else Severity.WARNING,
        title=say("torch is not installed in this interpreter"),
        explanation=say("The goal {goal} needs torch; GGUF does not.", goal=case.goal),
        evidence=("no distribution torch",),
        fixes=(
            *(
                _with_transformers(case, where)
                if case.goal is Goal.PLAIN
                else torch_fixes(case, ">=2.0", say("torch for {where}", where=where))
            ),
            *some(proven_set(case, format_of(case.goal))),
        ),
    )


def _with_transformers(case: Case, where: str) -> tuple[Fix, ...]:
    """Return torch for the machine together with what loads an unquantized model into it."""
    title = say("torch for {where}, and what loads the model", where=where)
    missing = [name for name in ("accelerate", "safetensors") if case.lacks(name)]
    if not case.has_within("transformers", OLDEST_TRANSFORMERS):
        missing.insert(0, f"transformers{OLDEST_TRANSFORMERS}")
    install = (Commands(case).install(*missing),) if missing else ()
    return tuple(
        replace(fix, commands=(*fix.commands, *install))
        for fix in torch_fixes(case, TORCH_OF_TRANSFORMERS_5, title)
    )


def no_wheel_for_python(case: Case) -> Iterator[Finding]:
    """Report a Python that is too old or too new for any wheel of torch, where torch is wanted."""
    if case.goal not in NEEDS_TORCH or not case.lacks("torch") or runs_repacked(case):
        return
    if torch_for_python(case) is not None:
        return
    yield Finding(
        code="TORCH-NO-WHEEL-FOR-PYTHON",
        severity=Severity.WARNING,
        title=say("There is no torch 2 for Python {python}", python=case.snapshot.python),
        explanation=say(
            "PyPI has wheels of torch 2 for Python {first} to {last}; with another one pip finds "
            'nothing ("No matching distribution found for torch"). Make an environment with a '
            "Python in between.",
            first=_pythons()[0], last=_pythons()[-1],
        ),
        evidence=(f"Python {case.snapshot.python}",),
        fixes=some(
            proven_set(case, format_of(case.goal)),
            Fix(say("Or an environment with Python 3.11"),
                ("uv venv --python 3.11 --seed .venv", _install_into_venv(case))),
        ),
    )  # fmt: skip


def _install_into_venv(case: Case) -> str:
    python = ".venv\\Scripts\\python.exe" if case.is_windows else ".venv/bin/python"
    return f"{python} -m pip install torch"


def _pythons() -> list[str]:
    return sorted(facts.fact("torch", "by_python"), key=_by_minor)


def _by_minor(version: str) -> int:
    return int(version.partition(".")[2])


def _has_gpu_for_flash_attn(case: Case) -> bool:
    lowest = facts.capability("flash_attn", "lowest_capability")
    return not case.has_no_gpu and not all(one < lowest for one in case.capabilities or ((9, 0),))


RULES = (
    cpu_only,
    vendor_build,
    companion_mismatch,
    numpy_2,
    torch_missing,
    no_wheel_for_python,
)
