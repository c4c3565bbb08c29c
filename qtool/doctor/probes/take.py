"""Take a snapshot of this machine: every probe that is safe and quick, side by side.

Nothing of the examined environment is imported. Tier 0 and 1: files, symbols, NVML.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from qtool.doctor import facts
from qtool.doctor.probes import machine
from qtool.doctor.probes.accelerators import find_accelerators
from qtool.doctor.probes.bandwidth import measure_bandwidth
from qtool.doctor.probes.distributions import (
    Distribution,
    compiled_modules,
    list_distributions,
    of_interest,
    requirements,
)
from qtool.doctor.probes.gpu import GpuProbe
from qtool.doctor.probes.interpreter import Target, TargetProbe, others, prefix_of
from qtool.doctor.probes.limits import LimitedProbe
from qtool.doctor.probes.llama_cpp import find_llama_cpp, find_llama_server
from qtool.doctor.probes.symbols import SymbolCheck, check_modules
from qtool.doctor.probes.toolkits import find_cuda_toolkits, read_conda, read_rocm
from qtool.doctor.probes.torch import find_torch, read_torch
from qtool.doctor.snapshot import (
    UNKNOWN,
    OperatingSystem,
    OtherInterpreter,
    Snapshot,
    TorchBuild,
    Unknown,
)
from qtool.ram import read_ram

ROOT = Path("/")
FILES_TIMEOUT_S = 10.0
KERNEL_PACKAGES = (
    "auto-gptq",
    "autoawq",
    "autoawq-kernels",
    "gptqmodel",
    "flash-attn",
    "bitsandbytes",
    "llama-cpp-python",
    "exllamav2",
    "exllamav3",
    "xformers",
)


@dataclass(frozen=True, slots=True)
class Packages:
    """What the folders of the examined interpreter tell."""

    dists: Mapping[str, Distribution] | Unknown = UNKNOWN
    modules: Mapping[str, Mapping[str, Path]] = field(default_factory=dict)
    symbols: SymbolCheck = field(default_factory=lambda: SymbolCheck({}, {}))
    requires: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    torch: TorchBuild | Unknown | None = UNKNOWN


def take_snapshot(
    environ: Mapping[str, str],
    *,
    python: str | None = None,
    needs_bandwidth: bool = False,
    root: Path = ROOT,
) -> Snapshot:
    """Describe this machine and the interpreter ``python`` (see ``interpreter.choose``).

    ``root`` stands for ``/`` wherever the system's own files are read.

    Raises:
        NotFoundError: there is no interpreter ``python``.
    """
    target_probe = TargetProbe(python, environ)
    gpu_probe = GpuProbe(environ, root)
    toolchain_probe = machine.ToolchainProbe(environ)
    system = machine.read_os(root)
    of_machine = _MachineProbes(system, environ, root)
    cpu, ram = machine.read_cpu(root), read_ram()
    reasons: dict[str, str] = {}
    target = target_probe.result()
    of_target = _TargetProbes(target, environ)
    packages = of_target.packages.result(FILES_TIMEOUT_S, reasons) or Packages()
    toolchain, gpu = toolchain_probe.result(), gpu_probe.result()
    bandwidth = measure_bandwidth(cpu.n_cores or 1) if needs_bandwidth else UNKNOWN
    reasons.update(_reasons({"interpreter": target.failure, "gpus": gpu.reason}))
    return Snapshot(
        os=system,
        interpreter=target.interpreter,
        python=target.version,
        dists=_versions(packages.dists),
        conda=of_target.conda.result(FILES_TIMEOUT_S, reasons),
        ext_files={name: tuple(sorted(files)) for name, files in packages.modules.items()},
        missing_symbols=packages.symbols.missing_symbols,
        missing_libraries=packages.symbols.missing_libraries,
        requires=packages.requires,
        torch=packages.torch,
        gpus=gpu.gpus,
        accelerators=of_machine.accelerators.result(FILES_TIMEOUT_S, reasons),
        driver=gpu.driver,
        driver_kernel=gpu.driver_kernel,
        nvml_error=gpu.nvml_error,
        nvcc=toolchain["nvcc"],
        cuda_toolkits=of_machine.cuda_toolkits.result(FILES_TIMEOUT_S, reasons),
        rocm=of_machine.rocm.result(FILES_TIMEOUT_S, reasons),
        compiler=toolchain["compiler"],
        ninja=toolchain["ninja"],
        cpu=cpu,
        ram_bytes=ram.total_bytes or UNKNOWN,
        ram_available_bytes=UNKNOWN if ram.available_bytes is None else ram.available_bytes,
        disk_free_bytes=of_machine.disk.result(FILES_TIMEOUT_S, reasons),
        memory_bandwidth_bytes_per_s=bandwidth,
        llama_cpp=find_llama_cpp(environ),
        llama_server=of_machine.llama_server.result(FILES_TIMEOUT_S, reasons),
        env_vars=machine.read_env_vars(environ),
        other_interpreters=tuple(of_target.others.result(FILES_TIMEOUT_S, reasons) or ()),
        reasons=reasons,
    )


class _MachineProbes:
    """Reads the machine's files, each kind within its own time limit."""

    def __init__(self, system: OperatingSystem, environ: Mapping[str, str], root: Path) -> None:
        self.accelerators = LimitedProbe(
            "accelerators", lambda: find_accelerators(system, environ, root)
        )
        self.cuda_toolkits = LimitedProbe(
            "cuda_toolkits", lambda: find_cuda_toolkits(environ, root)
        )
        self.rocm = LimitedProbe("rocm", lambda: read_rocm(root))
        self.llama_server = LimitedProbe("llama_server", lambda: find_llama_server(environ))
        self.disk = LimitedProbe("disk_free_bytes", lambda: machine.read_disk_free(Path.cwd()))


class _TargetProbes:
    """Reads the folders of the examined interpreter and of others, likewise."""

    def __init__(self, target: Target, environ: Mapping[str, str]) -> None:
        prefix = prefix_of(Path(target.interpreter.path))
        self.packages = LimitedProbe("dists", lambda: _read_packages(target, environ))
        self.conda = LimitedProbe("conda", lambda: read_conda(prefix))
        self.others = LimitedProbe("other_interpreters", lambda: _others(target, environ))


def _read_packages(target: Target, environ: Mapping[str, str]) -> Packages:
    dists = list_distributions(target.paths)
    known = {} if dists is UNKNOWN else dists
    torch = find_torch(target.paths)
    modules = _modules(known)
    return Packages(
        dists=dists,
        modules=modules,
        symbols=_check_symbols(modules, torch, target, environ),
        requires=_requirements(known),
        torch=read_torch(torch),
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
