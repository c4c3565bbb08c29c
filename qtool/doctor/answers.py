"""The two questions every newcomer asks, answered in so many words."""

from qtool.doctor import facts
from qtool.doctor.case import Case
from qtool.doctor.kernels import KernelState, gptq_kernels
from qtool.doctor.repacked import runs_most_repacked, runs_repacked
from qtool.doctor.versions import capability_words
from qtool.language.message import Message, say


def gptq_answers(case: Case) -> tuple[str, ...]:
    """Does auto-gptq have its CUDA kernels, and do they load?"""
    if case.lacks("auto-gptq"):
        return (
            say("auto-gptq is not installed, so the question of its CUDA kernels does not arise"),
        )
    if not case.has("auto-gptq"):
        return (say("whether auto-gptq has its CUDA kernels is unknown"),)
    report = gptq_kernels(case)
    names = ", ".join(report.modules)
    torch = f"torch {case.torch_version}"
    match report.state:
        case KernelState.LOADS:
            text = say("auto-gptq has its CUDA kernels ({names}), and they load on {torch}",
                       names=names, torch=torch)  # fmt: skip
        case KernelState.BROKEN:
            text = say("auto-gptq has its CUDA kernels ({names}), but they do not load on {torch}",
                       names=names, torch=torch)  # fmt: skip
        case KernelState.WITHOUT_TORCH:
            text = say(
                "auto-gptq has its CUDA kernels ({names}), but there is no torch to load them",
                names=names,
            )
        case KernelState.MISSING:
            text = say("auto-gptq is installed without its CUDA kernels")
        case _:
            text = say("whether auto-gptq has its CUDA kernels, and whether they load, is unknown")
    return (text,)


def awq_answers(case: Case) -> tuple[str, ...]:
    """Does this GPU support flash-attn, and which autoawq follows?"""
    if runs_repacked(case) or runs_most_repacked(case):
        return (
            say("without an NVIDIA GPU neither flash-attn nor autoawq is of use, nor needed here"),
        )
    if case.has_no_gpu:
        return (say("without an NVIDIA GPU neither flash-attn nor autoawq is of use: take GGUF"),)
    if not case.gpus:
        return (say("whether there is a GPU that supports flash-attn is unknown"),)
    return tuple(dict.fromkeys(_awq_answer(case, gpu.name, gpu.capability) for gpu in case.gpus))


def flash_attn_answer(case: Case) -> Message:
    """Does this machine have a GPU for flash-attn? Which one, or what it would take."""
    lowest = facts.capability("flash_attn", "lowest_capability")
    needs = say("it needs an NVIDIA GPU of compute capability {lowest} or newer",
                lowest=capability_words(lowest))  # fmt: skip
    if case.has_no_gpu:
        return say("{needs}, and there is no NVIDIA GPU", needs=needs)
    if not case.capabilities:
        return say("{needs}; that of this machine is unknown", needs=needs)
    able = [gpu for gpu in case.gpus if gpu.capability and gpu.capability >= lowest]
    gpu = able[0] if able else case.gpus[0]
    words = capability_words(gpu.capability or (0, 0))
    return say("{needs}; the {gpu} has {words}", needs=needs, gpu=gpu.name, words=words)


def _awq_answer(case: Case, name: str, capability: tuple[int, int] | None) -> Message:
    if capability is None:
        return say("whether the {name} supports flash-attn is unknown", name=name)
    pin = facts.fact("autoawq", "pin_without_flash_attn")
    gpu = say("the {name} (compute capability {words})",
              name=name, words=capability_words(capability))  # fmt: skip
    if capability > (9, 0):
        return say(
            "{gpu} supports flash-attn 2.7.3 or newer; autoawq-kernels have no code for it: "
            "AWQ runs through gptqmodel",
            gpu=gpu,
        )
    if capability >= (8, 0):
        return say("{gpu} supports flash-attn, so any autoawq does, 0.2.9 being the last", gpu=gpu)
    if capability == (7, 5):
        return say(
            "{gpu} does not support flash-attn, so autoawq has to do without: "
            "autoawq=={pin} 'autoawq[kernels]=={pin}', or a newer one with fuse_layers=False",
            gpu=gpu,
            pin=pin,
        )
    none = say(
        "{gpu} does not support flash-attn, and autoawq-kernels have no code for it, whatever "
        "the pin: take GGUF, or GPTQ with ExLlama",
        gpu=gpu,
    )
    return none + say(" (or autoawq through Triton, slowly)") if capability >= (7, 0) else none
