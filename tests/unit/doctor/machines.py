"""Machines to examine, written as a snapshot file would have them."""

from typing import Any

from qtool.doctor.case import Case, make_case
from qtool.doctor.diagnosis import diagnose
from qtool.doctor.finding import Finding, Goal
from qtool.doctor.snapshot_reader import from_mapping

LINUX = {"system": "Linux", "distro": "Ubuntu 22.04", "arch": "x86_64"}
WINDOWS = {"system": "Windows", "distro": "Windows 11", "arch": "AMD64"}
T4 = {"name": "Tesla T4", "cc": "7.5", "vram_mib": 15360}
V100 = {"name": "Tesla V100-SXM2-16GB", "cc": "7.0", "vram_mib": 16384}
RTX_3090 = {"name": "NVIDIA GeForce RTX 3090", "cc": "8.6", "vram_mib": 24576}
RTX_5090 = {"name": "NVIDIA GeForce RTX 5090", "cc": "12.0", "vram_mib": 32607}
OLD_ARCHS = ["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"]
GPTQ_MODULES = ["autogptq_cuda_64", "autogptq_cuda_256", "exllama_kernels", "exllamav2_kernels"]
AWQ_MODULES = ["awq_ext", "awq_v2_ext", "exl_ext", "exlv2_ext", "awq_ft_ext"]


def torch(version: str, cuda: str | None = "12.1", archs: list[str] | None = None) -> dict:
    return {"version": version, "cuda": cuda, "arch_list": archs or OLD_ARCHS}


def machine(**fields: Any) -> dict[str, Any]:
    """Return a machine with a 3090, a good driver and no toolkit, changed by ``fields``."""
    base = {
        "os": LINUX,
        "python": "3.10.14",
        "dists": {},
        "ext_files": {},
        "torch": None,
        "gpus": [RTX_3090],
        "driver": "550.127.05",
        "nvcc": None,
        "env_vars": {},
    }
    return {**base, **fields}


def case_of(goal: str | None = None, **fields: Any) -> Case:
    return make_case(from_mapping(machine(**fields)), Goal(goal) if goal else None)


def findings_of(goal: str | None = None, **fields: Any) -> dict[str, Finding]:
    """Return the findings about a machine by code."""
    return {finding.code: finding for finding in diagnose(case_of(goal, **fields))}


def errors_of(goal: str | None = None, **fields: Any) -> set[str]:
    return {code for code, f in findings_of(goal, **fields).items() if f.severity == "error"}


def commands_of(finding: Finding) -> str:
    return "\n".join(command for fix in finding.fixes for command in fix.commands)
