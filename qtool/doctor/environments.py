"""What recipes of environments ask of the doctor: the machine in short, and its wheel indexes."""

from collections.abc import Mapping
from dataclasses import replace

from qtool.doctor import facts
from qtool.doctor.case import Case
from qtool.doctor.commands import torch_index_url
from qtool.doctor.finding import Goal
from qtool.doctor.proven_sets import machine_of, proven_set
from qtool.doctor.snapshot import Snapshot
from qtool.doctor.torch_sources import torch_sources
from qtool.doctor.versions import parse_capability
from qtool.envs.indexes import Indexes
from qtool.envs.store import Store
from qtool.models.info import ModelFormat, ModelInfo

__all__ = ["hint_for", "indexes_for", "look_around", "machine_of", "recipe_for"]


def look_around(environ: Mapping[str, str]) -> Case:
    """Return the machine without its Pythons: system, GPUs, driver. Takes up to 0.3 s."""
    from qtool.doctor.probes import machine
    from qtool.doctor.probes.gpu import GpuProbe

    gpu_probe = GpuProbe(environ)
    system = machine.read_os()
    gpu = gpu_probe.result()
    return Case(
        Snapshot(
            os=system,
            gpus=gpu.gpus,
            driver=gpu.driver,
            driver_kernel=gpu.driver_kernel,
            nvml_error=gpu.nvml_error,
            env_vars=machine.read_env_vars(environ),
        )
    )


def indexes_for(case: Case, *, is_for_gpu: bool) -> Indexes:
    """Return where torch and llama-cpp-python come from on this machine, the best first."""

    def indexes(package: str, versions: str) -> tuple[str | None, ...]:
        if package == "torch":
            return _torch_indexes(case, versions, is_for_gpu)
        if package == "llama-cpp-python":
            return _llama_cpp_indexes(case)
        return (None,)

    return indexes


def _torch_indexes(case: Case, versions: str, is_for_gpu: bool) -> tuple[str | None, ...]:
    if not is_for_gpu:
        return (f"{torch_index_url(case)}cpu", None) if case.is_linux_x86 else (None,)
    urls = [
        source.tag and f"{torch_index_url(case)}{source.tag}"
        for source in torch_sources(case, versions)
    ]
    return tuple(urls) or (None,)


def _llama_cpp_indexes(case: Case) -> tuple[str | None, ...]:
    rows = facts.fact("llama_cpp", "index_tags")
    return tuple(
        f"{facts.fact('llama_cpp', 'index_url')}{row['tag']}"
        for row in reversed(rows)
        if case.driver_runs(row["major"]) is not False
        and all(
            (parse_capability(row["lowest"]) or (0, 0))
            <= one
            <= (parse_capability(row["highest"]) or (99, 0))
            for one in case.capabilities
        )
    )


def hint_for(info: ModelInfo, environ: Mapping[str, str]) -> str | None:
    """Return how to run ``info`` in an environment of qtool's own; ``None`` where none is for it.

    The same cure as in the doctor's verdict, for a chat that finds nothing to run a model with.
    """
    case = replace(look_around(environ), model=info, environments=tuple(Store().all()))
    cure = proven_set(case, info.format)
    return " && ".join(cure.commands) if cure else None


def recipe_for(case: Case) -> str:
    """Return the recipe to offer for what the user wants to run."""
    if case.model is not None and case.model.format is ModelFormat.GGUF:
        return "gguf"
    if case.goal is Goal.GGUF:
        return "gguf"
    return "transformers" if case.is_linux_x86 or case.goal is not None else "gguf"
