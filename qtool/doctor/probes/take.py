"""Take a snapshot of this machine: every probe that is safe and quick, side by side.

Nothing of the examined environment is imported. Tier 0 and 1: files, symbols, NVML.
"""

from collections.abc import Mapping
from pathlib import Path

from qtool.doctor import facts
from qtool.doctor.probes import machine
from qtool.doctor.probes.bandwidth import measure_bandwidth
from qtool.doctor.probes.distributions import (
    Distribution,
    compiled_modules,
    list_distributions,
    of_interest,
    requirements,
)
from qtool.doctor.probes.gpu import GpuProbe
from qtool.doctor.probes.interpreter import Target, TargetProbe, others
from qtool.doctor.probes.symbols import SymbolCheck, check_modules
from qtool.doctor.probes.torch import find_torch, read_torch
from qtool.doctor.snapshot import UNKNOWN, OtherInterpreter, Snapshot, Unknown
from qtool.ram import read_ram

KERNEL_PACKAGES = (
    "auto-gptq",
    "autoawq",
    "autoawq-kernels",
    "gptqmodel",
    "flash-attn",
    "bitsandbytes",
    "llama-cpp-python",
    "exllamav2",
    "xformers",
)


def take_snapshot(
    environ: Mapping[str, str], *, python: str | None = None, needs_bandwidth: bool = False
) -> Snapshot:
    """Describe this machine and the interpreter ``python`` (see ``interpreter.choose``).

    Raises:
        NotFoundError: there is no interpreter ``python``.
    """
    target_probe = TargetProbe(python, environ)
    gpu_probe = GpuProbe(environ)
    toolchain_probe = machine.ToolchainProbe(environ)
    cpu = machine.read_cpu()
    ram = read_ram()
    llama_cpp = machine.find_llama_cpp(environ)
    target = target_probe.result()
    dists = list_distributions(target.paths)
    torch = find_torch(target.paths)
    modules = _modules({} if dists is UNKNOWN else dists)
    symbols = _check_symbols(modules, torch, target, environ)
    toolchain = toolchain_probe.result()
    gpu = gpu_probe.result()
    bandwidth = measure_bandwidth(cpu.n_cores or 1) if needs_bandwidth else UNKNOWN
    return Snapshot(
        os=machine.read_os(),
        interpreter=target.interpreter,
        python=target.version,
        dists=_versions(dists),
        ext_files={name: tuple(sorted(files)) for name, files in modules.items()},
        missing_symbols=symbols.missing_symbols,
        missing_libraries=symbols.missing_libraries,
        requires=_requirements({} if dists is UNKNOWN else dists),
        torch=read_torch(torch),
        gpus=gpu.gpus,
        driver=gpu.driver,
        driver_kernel=gpu.driver_kernel,
        nvml_error=gpu.nvml_error,
        nvcc=toolchain["nvcc"],
        compiler=toolchain["compiler"],
        ninja=toolchain["ninja"],
        cpu=cpu,
        ram_bytes=ram.total_bytes or UNKNOWN,
        ram_available_bytes=UNKNOWN if ram.available_bytes is None else ram.available_bytes,
        disk_free_bytes=machine.read_disk_free(Path.cwd()),
        memory_bandwidth_bytes_per_s=bandwidth,
        llama_cpp=llama_cpp,
        env_vars=machine.read_env_vars(environ),
        other_interpreters=tuple(_others(target, environ)),
        reasons=_reasons({"interpreter": target.failure, "gpus": gpu.reason}),
    )


def _versions(dists: Mapping[str, Distribution] | Unknown) -> dict[str, str] | Unknown:
    if dists is UNKNOWN:
        return UNKNOWN
    return {name: one.version for name, one in sorted(dists.items())}


def _modules(dists: Mapping[str, Distribution]) -> dict[str, dict[str, Path]]:
    """Return the compiled modules of the packages of interest; an unknown one is left out."""
    known = (
        *facts.fact("auto_gptq", "modules"),
        *facts.fact("auto_gptq", "cpu_modules"),
        *facts.fact("autoawq", "modules"),
        "flash_attn_2_cuda",
    )
    found = {
        name: compiled_modules(dists[name], known) for name in KERNEL_PACKAGES if name in dists
    }
    return {name: modules for name, modules in found.items() if modules is not None}


def _check_symbols(
    modules: Mapping[str, Mapping[str, Path]],
    torch: Path | None,
    target: Target,
    environ: Mapping[str, str],
) -> SymbolCheck:
    """Check every module that links against torch, and CUDA's libraries for llama.cpp's."""
    wanted = {
        name: path
        for package, files in modules.items()
        for name, path in files.items()
        if package != "xformers" and path.suffix == ".so"
    }
    if not wanted:
        return SymbolCheck({}, {})
    return check_modules(wanted, torch or Path("/nonexistent"), target.paths, environ)


def _requirements(dists: Mapping[str, Distribution]) -> dict[str, tuple[str, ...]]:
    names = facts.fact("requirements", "of_interest")
    return {name: requirements(dists[name]) for name in names if name in dists}


def _others(target: Target, environ: Mapping[str, str]) -> list[OtherInterpreter]:
    names = facts.fact("requirements", "of_interest")
    found = []
    for path, folders in others(target, environ):
        dists = list_distributions(folders)
        interesting = {} if dists is UNKNOWN else of_interest(dists, names)
        if interesting:
            found.append(OtherInterpreter(path, interesting))
    return found


def _reasons(reasons: Mapping[str, str | None]) -> dict[str, str]:
    return {name: text for name, text in reasons.items() if text}
