"""Where the installed torch would compute, and whether transformers goes with it. Pure."""

from qtool.doctor.case import Case, runs_on
from qtool.doctor.fit import Device
from qtool.doctor.snapshot import UNKNOWN
from qtool.language.message import Message, say
from qtool.models.loaders import MINIMUM_TRANSFORMERS


def torch_device(case: Case) -> tuple[Device | None, Message]:
    """Return where the installed torch would compute, and why."""
    build = case.torch
    if build is None:
        is_missing = case.snapshot.torch is None or case.lacks("torch")
        if is_missing:
            return None, say("torch is not installed")
        return None, say("nothing is known of torch")
    if not case.gpus and not case.snapshot.nvml_error:
        return Device.CPU, say("on the CPU, for there is no NVIDIA GPU")
    if not case.torch_cuda:
        return Device.CPU, say("on the CPU, for torch is a CPU build")
    if case.driver_runs(case.torch_cuda[0]) is False or case.snapshot.nvml_error:
        return Device.CPU, say("on the CPU, for the driver does not serve this torch")
    archs = build.arch_list
    if archs is not UNKNOWN and case.capabilities:
        has_code = any(runs_on(one, archs) for one in case.capabilities)
        if not has_code:
            return Device.CPU, say("on the CPU, for torch has no code for this GPU")
    return Device.CUDA, say("on the {gpu}", gpu=case.gpus[0].name)


def lack_of_transformers(case: Case) -> Message | None:
    """Say what is wrong with transformers for qtool's server, ``None`` where nothing is."""
    if not case.has("transformers"):
        return say("transformers is not installed")
    if case.has_within("transformers", f">={MINIMUM_TRANSFORMERS}"):
        return None
    return say("transformers {version} is too old: it takes {lowest} or newer",
               version=case.version("transformers"), lowest=MINIMUM_TRANSFORMERS)  # fmt: skip
