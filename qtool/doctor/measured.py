"""What ``--deep`` and ``--run`` have seen outweighs what versions and files promise. Pure."""

from dataclasses import replace

from qtool.doctor.case import Case
from qtool.doctor.fit import Device
from qtool.doctor.routes import Route
from qtool.doctor.rules.runs import is_wrong, kind_for
from qtool.doctor.snapshot import KernelEnding
from qtool.language.message import Message, say
from qtool.models.info import ModelFormat

_BASES = ("torch", "transformers")
_EITHER_OF: dict[ModelFormat, tuple[str, ...]] = {
    ModelFormat.GPTQ: ("gptqmodel", "auto_gptq"),
    ModelFormat.AWQ: ("gptqmodel", "awq"),
}


def as_measured(case: Case, form: ModelFormat, route: Route) -> Route:
    """Return the route, refused where a module that it needs or its kernel has failed here."""
    if not route.runs:
        return route
    obstacle = _failed_run(case, form, route)
    if obstacle is None and route.engine == "transformers":
        obstacle = _failed_import(case, form, route)
    if obstacle is None:
        return route
    return replace(route, runs=False, why=obstacle, kernel=None, lacks_packages=True)


def _failed_import(case: Case, form: ModelFormat, route: Route) -> Message | None:
    """Say which module is in the way; on a CPU qtool's own engine needs no other's kernels."""
    imports = case.snapshot.imports or {}
    failed = [name for name in _BASES if name in imports and imports[name].failed]
    tried = [name for name in _EITHER_OF.get(form, ()) if name in imports]
    is_needed = bool(tried) and route.device is not Device.CPU
    if is_needed and all(imports[name].failed for name in tried):
        failed += tried
    if not failed:
        return None
    return say(
        "import {module} fails: {detail}", module=failed[0], detail=imports[failed[0]].detail
    )


def _failed_run(case: Case, form: ModelFormat, route: Route) -> Message | None:
    """Say how the kernel of the format fared, unless another engine than the route's ran it."""
    kind = kind_for(case, form)
    if (route.engine == "llama.cpp") is not (kind == "gguf"):
        return None
    for run in case.snapshot.kernel_runs or ():
        if run.kind != kind:
            continue
        if run.ending is not KernelEnding.MEASURED:
            return say("its kernel was run here and failed: {detail}", detail=run.detail)
        if is_wrong(run):
            return say("its kernel was run here and computes wrongly")
    return None
