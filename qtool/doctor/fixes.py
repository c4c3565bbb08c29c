"""Cures: complete, consistent lists of commands for the machine at hand.

Two profiles exclude each other (numpy, torch and transformers contradict): *legacy* is auto-gptq
or autoawq with the versions they were made for, *modern* is transformers 5 with gptqmodel.
"""

import re

from qtool.doctor import facts
from qtool.doctor.case import Case, runs_on
from qtool.doctor.commands import (
    Commands,
    quoted,
)
from qtool.doctor.finding import Fix
from qtool.doctor.fit import Fit
from qtool.doctor.kernels import KernelState, gptq_kernels
from qtool.doctor.snapshot import UNKNOWN
from qtool.doctor.toolkits import toolkit_commands
from qtool.doctor.torch_sources import torch_commands
from qtool.doctor.versions import is_within, parse_capability
from qtool.language.message import say
from qtool.models.loaders import INT4_TORCH, MINIMUM_TRANSFORMERS
from qtool.models.origin import is_telling

MODERN_TORCH = ">=2.8,<2.14"
_QUANT_SUFFIX = re.compile(
    r"[-_.](?:gptq|awq|gguf|bnb|i?q\d_?\w*|bf16|f16|fp16)(?![a-z]).*$", re.IGNORECASE
)
LEGACY_TRANSFORMERS = ("transformers==4.49.0", "optimum==1.23.3", "accelerate<1.4", "peft<0.15")


def some(*fixes: Fix | None) -> tuple[Fix, ...]:
    """Return the fixes that exist for this machine."""
    return tuple(fix for fix in fixes if fix is not None)


def python_is_within(case: Case, specifier: str) -> bool:
    """Tell whether the examined Python is in a range; an unknown one counts as inside."""
    return case.snapshot.python is UNKNOWN or is_within(case.snapshot.python, specifier)


# --- GPTQ -----------------------------------------------------------------------------------


def modern(case: Case) -> Fix | None:
    """Replace auto-gptq by gptqmodel with transformers 5."""
    if not python_is_within(case, ">=3.10") or case.has_vendor_torch:
        return None
    if any(one < facts.capability("gptqmodel", "lowest_capability") for one in case.capabilities):
        return None
    torch = () if _has_modern_torch(case) else torch_commands(case, MODERN_TORCH)
    if not torch and not _has_modern_torch(case):
        return None
    commands = Commands(case)
    old = [name for name in ("auto-gptq", "autoawq", "autoawq-kernels") if case.has(name)]
    removal = (commands.uninstall(*old),) if old else ()
    install = commands.install("--upgrade", *_modern_set(case))
    title = say("Modern profile: transformers 5 with gptqmodel, for GPTQ and AWQ alike")
    return Fix(title, (*removal, *torch, install))


def torch_alone(case: Case) -> Fix | None:
    """Bring what runs GPTQ and AWQ on a CPU: qtool's own loader takes torch's 4-bit kernel."""
    has_torch = is_within(case.torch_version, f">={INT4_TORCH}")
    torch = () if has_torch else torch_commands(case, f">={INT4_TORCH}")
    if not has_torch and not torch:
        return None
    title = say("torch and transformers alone, for qtool's own loader on the CPU")
    loader = Commands(case).install(
        f"transformers>={MINIMUM_TRANSFORMERS}", "accelerate", "safetensors"
    )
    return Fix(title, (*torch, loader))


def _modern_set(case: Case) -> tuple[str, ...]:
    last = "" if is_within(case.torch_version, ">=2.14.1") else ",<7.7"
    return ("transformers>=5.4", "accelerate>=1.13", "optimum>=2.3", f"gptqmodel>=7{last}")


def _has_modern_torch(case: Case) -> bool:
    lowest = facts.fact("gptqmodel", "lowest_torch_of_current")
    return is_within(case.torch_version, f">={lowest}") and _computes(case)


def legacy_gptq(case: Case) -> Fix | None:
    """Go back to the torch that auto-gptq's published kernels were built for."""
    if not _has_gptq_wheel(case) or case.has_vendor_torch or case.has_no_gpu:
        return None
    limits = facts.fact("auto_gptq", "wheel_capabilities")
    lowest = parse_capability(limits["lowest"]) or (0, 0)
    if case.driver_runs(12) is False or not all(lowest <= c <= (9, 0) for c in case.capabilities):
        return None
    commands = Commands(case)
    is_fitting = case.has_within("transformers", ">=4.36,<4.50")
    old = () if is_fitting else LEGACY_TRANSFORMERS
    return Fix(
        say(
            "Legacy profile: the torch that the published kernels of auto-gptq 0.7.1 were built for"
        ),
        (*torch_2_2_commands(case), *_published_gptq(case, commands, old)),
    )


def _published_gptq(case: Case, commands: Commands, others: tuple[str, ...]) -> tuple[str, ...]:
    """Return the commands for the published wheel of auto-gptq 0.7.1.

    pip keeps an own build of that version, or one for another CUDA (``0.7.1+cu118``), unless it is
    removed first; and would take the own build from its cache.
    """
    is_own = "+" in (case.version("auto-gptq") or "")
    if case.has("auto-gptq") and (is_own or gptq_kernels(case).state is KernelState.MISSING):
        published = ("--no-cache-dir", "--only-binary", "auto-gptq", "auto-gptq==0.7.1")
        return (commands.uninstall("auto-gptq"), commands.install(*published, *others))
    return (commands.install("auto-gptq==0.7.1", *others),)


def torch_2_2_commands(case: Case) -> tuple[str, ...]:
    """Return the commands for torch 2.2.2 with CUDA 12.1, as auto-gptq 0.7.1 was built for."""
    return Commands(case).install_torch("2.2.2", None if case.is_linux_x86 else "cu121")


def _has_gptq_wheel(case: Case) -> bool:
    platforms = [tuple(pair) for pair in facts.fact("auto_gptq", "wheel_platforms")]
    here = (case.snapshot.os.system, case.snapshot.os.arch)
    return here in platforms and python_is_within(case, facts.fact("auto_gptq", "wheel_pythons"))


def build_gptq(case: Case) -> Fix | None:
    """Build auto-gptq's kernels against the installed torch."""
    if case.snapshot.os.system not in (*facts.fact("auto_gptq", "systems"), UNKNOWN):
        return None
    if case.has_no_gpu or not case.torch_cuda:
        return None
    commands = Commands(case)
    build = commands.with_variables(
        {"PYPI_RELEASE": "1", "BUILD_CUDA_EXT": "1"},
        commands.install(
            "-v", "--no-build-isolation", "--no-cache-dir",
            "--no-binary", "auto-gptq", "auto-gptq==0.7.1",
        ),
    )  # fmt: skip
    removal = (commands.uninstall("auto-gptq"),) if case.has("auto-gptq") else ()
    is_old = is_within(case.torch_version, facts.fact("torch", "numpy1_only"))
    needs_old = is_old or case.has_within("numpy", "<2")
    tools = commands.install("numpy<2" if needs_old else "numpy", "gekko",
                             "pandas", "wheel", "setuptools<80", "ninja")  # fmt: skip
    return Fix(
        say("Build the kernels of auto-gptq against the installed torch"),
        (*toolkit_commands(case), *removal, tools, build),
    )


# --- AWQ ------------------------------------------------------------------------------------


def legacy_awq(case: Case) -> Fix | None:
    """Install the autoawq that fits the GPUs, with the versions it was last tested with."""
    if case.has_vendor_torch or not case.is_linux_x86 or not python_is_within(case, ">=3.9,<3.13"):
        return None
    if case.has_no_gpu or any(one > (9, 0) or one < (7, 0) for one in case.capabilities):
        return None
    has_torch = case.has_within("torch", ">=2.4,<2.7") and not case.has_cpu_torch
    torch = () if has_torch else torch_commands(case, ">=2.6,<2.7")
    if not torch and not has_torch:
        return None
    specs, title = _legacy_awq_set(case)
    return Fix(title, (*torch, Commands(case).install(*specs)))


def autoawq_on_windows(case: Case) -> Fix | None:
    """Install autoawq where its hard requirement triton has another name.

    triton-windows has to be the release that its torch was made for.
    """
    commands, rows = Commands(case), facts.fact("autoawq", "triton_windows")
    row = next((row for row in rows if is_within(case.torch_version, row["torch"])), None)
    torch: tuple[str, ...] = ()
    if row is None or not _computes(case):
        found = ((row, torch_commands(case, row["torch"])) for row in rows)
        row, torch = next(((row, how) for row, how in found if how), (None, ()))
    if row is None:
        return None
    needed = [] if case.has_within("transformers", ">=4.45,<4.57") else ["transformers==4.51.3"]
    return Fix(
        say("triton-windows, then autoawq without its requirements"),
        (
            *torch,
            commands.install(f"triton-windows{row['versions']}"),
            commands.install(*needed, "accelerate", "datasets", "zstandard"),
            commands.install("--no-deps", "autoawq==0.2.9"),
        ),
    )


def _legacy_awq_set(case: Case) -> tuple[tuple[str, ...], str]:
    has_kernels = bool(case.capabilities) and all(one >= (7, 5) for one in case.capabilities)
    if has_kernels and any(one < (8, 0) for one in case.capabilities):
        pin = facts.fact("autoawq", "pin_without_flash_attn")
        specs = (f"autoawq[kernels]=={pin}", "autoawq-kernels==0.0.9", "transformers==4.47.1")
        return specs, say("Legacy profile without flash-attn: autoawq {pin}", pin=pin)
    tested = facts.fact("autoawq", "last_tested_set")
    kernels = ("autoawq-kernels==0.0.9",) if has_kernels else ()
    specs = (f"autoawq=={tested['autoawq']}", f"transformers=={tested['transformers']}", *kernels)
    return specs, say("Legacy profile: the set that autoawq 0.2.9 was last tested with")


# --- bitsandbytes ---------------------------------------------------------------------------


def bitsandbytes(case: Case) -> Fix | None:
    """Install bitsandbytes for the CPU or the GPUs, with a torch that it takes."""
    rows = facts.fact("bitsandbytes", "releases")
    row = next((row for row in rows if _serves_gpus(case, row)), None)
    if row is None or case.has_vendor_torch:
        return None
    has_torch = is_within(case.torch_version, row["torch"]) and _computes(case)
    torch = () if has_torch else torch_commands(case, row["torch"])
    if not torch and not has_torch:
        return None
    wanted = (f"bitsandbytes{row['versions']}", "transformers", "accelerate")
    where = say("for this GPU")
    if case.has_no_gpu:
        where = say("on the CPU, where it works but slowly")
    return Fix(say("bitsandbytes {where}", where=where), (*torch, Commands(case).install(*wanted)))


def _serves_gpus(case: Case, row: dict[str, str]) -> bool:
    is_arm = case.snapshot.os.arch in ("aarch64", "arm64")
    lowest = parse_capability(row["lowest_aarch64" if is_arm else "lowest"]) or (0, 0)
    return all(one >= lowest for one in case.capabilities)


def _computes(case: Case) -> bool:
    """Tell whether the installed torch can use what the machine has."""
    if case.has_no_gpu:
        return True
    archs = case.torch.arch_list if case.torch else UNKNOWN
    has_code = archs is UNKNOWN or all(runs_on(one, archs) for one in case.capabilities)
    major = (case.torch_cuda or (0,))[0]
    return has_code and not case.has_cpu_torch and case.driver_runs(major) is not False


# --- others ---------------------------------------------------------------------------------


def gguf(case: Case, title: str | None = None) -> Fix:
    """Leave GPTQ and AWQ alone and use a GGUF: find the one that fits this machine."""
    then = say(
        "# then `qtool download` the GGUF that fits, and `qtool chat` with it: llama.cpp runs it"
    )
    title = title or say("Run a GGUF of the model with llama.cpp instead")
    return Fix(title, (f"qtool find {quoted(_searched_name(case))} --format gguf", then))


def smaller_variant(case: Case, fit: Fit) -> Fix:
    """Find a variant of the model that does fit, named where it is known which.

    ``gguf`` where few bits would do it; else a smaller model is needed.
    """
    wanted = fit.bits_that_fit or 0.0
    rows = facts.fact("llama_cpp", "bits_per_weight").items()
    fitting = {name: bits for name, bits in rows if bits <= wanted}
    if not fitting:
        return gguf(case, say("No variant of it fits here, a smaller model would"))
    best = max(fitting, key=lambda name: fitting[name])
    title = say("A GGUF of at most {bits} bits a weight fits: {quant}",
                bits=f"{wanted:.1f}", quant=best)  # fmt: skip
    return gguf(case, title)


def _searched_name(case: Case) -> str:
    """Return the name to look for variants of: a repository as it is, else the model's name.

    A hub knows what its repositories were made from; of a file or folder only the name tells,
    if it is one that hubs could know.
    """
    described = case.snapshot.model.name if case.snapshot.model else ""
    if "/" in described or case.model is None:
        return described or "MODEL"
    if case.model_origin:
        return case.model_origin
    path = case.model.path
    name = path.stem if path.suffix.lower() == ".gguf" else path.name
    return _QUANT_SUFFIX.sub("", name) if is_telling(name) else "MODEL"
