"""An environment of qtool's own, looked at as if it were the examined one. Pure."""

from dataclasses import replace
from typing import TYPE_CHECKING

from qtool.doctor.case import Case
from qtool.doctor.snapshot import UNKNOWN, Interpreter, TorchBuild

if TYPE_CHECKING:
    from qtool.envs.environment import Environment

CUDA_RUNTIMES = ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12", "nvidia-cuda-runtime-cu11")
"""What a torch from PyPI brings along, in the version of the CUDA that torch was built with."""


def case_within(case: Case, environment: "Environment") -> Case:
    """Return ``case`` with ``environment`` examined instead; what was measured stays outside."""
    snapshot = replace(
        case.snapshot,
        interpreter=Interpreter(str(environment.python), "an environment of qtool's"),
        python=environment.python_version,
        dists=environment.versions,
        ext_files={},
        import_results=UNKNOWN,
        imports=UNKNOWN,
        kernel_runs=UNKNOWN,
        missing_symbols={},
        missing_libraries={},
        requires={},
        torch=_torch_of(environment),
    )
    return replace(case, snapshot=snapshot)


def _torch_of(environment: "Environment") -> TorchBuild | None:
    """Return torch as its wheel's name tells: ``2.11.0+cu128``, ``+cpu``, or neither on PyPI."""
    versions = environment.versions
    version = versions.get("torch")
    if version is None:
        return None
    tag = version.partition("+")[2]
    if tag.startswith("cu") and tag[2:].isdigit():
        return TorchBuild(version=version, cuda=f"{tag[2:-1]}.{tag[-1]}")
    runtime = next((versions[name] for name in CUDA_RUNTIMES if name in versions), None)
    cuda = None if tag == "cpu" or runtime is None else ".".join(runtime.split(".")[:2])
    return TorchBuild(version=version, cuda=cuda)
