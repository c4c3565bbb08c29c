"""The two questions every newcomer asks, answered in so many words."""

from qtool.doctor import facts
from qtool.doctor.case import Case
from qtool.doctor.kernels import KernelState, gptq_kernels
from qtool.doctor.versions import capability_words


def gptq_answers(case: Case) -> tuple[str, ...]:
    """Does auto-gptq have its CUDA kernels, and do they load?"""
    if case.lacks("auto-gptq"):
        return ("auto-gptq is not installed, so the question of its CUDA kernels does not arise",)
    if not case.has("auto-gptq"):
        return ("whether auto-gptq has its CUDA kernels is unknown",)
    report = gptq_kernels(case)
    names = ", ".join(report.modules)
    torch = f"torch {case.torch_version or '(not installed)'}"
    match report.state:
        case KernelState.LOADS:
            text = f"auto-gptq has its CUDA kernels ({names}), and they load on {torch}"
        case KernelState.BROKEN:
            text = f"auto-gptq has its CUDA kernels ({names}), but they do not load on {torch}"
        case KernelState.MISSING:
            text = "auto-gptq is installed without its CUDA kernels"
        case _:
            text = "whether auto-gptq has its CUDA kernels, and whether they load, is unknown"
    return (text,)


def awq_answers(case: Case) -> tuple[str, ...]:
    """Does this GPU support flash-attn, and which autoawq follows?"""
    if case.has_no_gpu:
        return ("without an NVIDIA GPU neither flash-attn nor autoawq is of use: take GGUF",)
    if not case.gpus:
        return ("whether there is a GPU that supports flash-attn is unknown",)
    return tuple(dict.fromkeys(_awq_answer(case, gpu.name, gpu.capability) for gpu in case.gpus))


def flash_attn_answer(case: Case) -> str:
    """Does this machine have a GPU for flash-attn? Which one, or what it would take."""
    lowest = facts.capability("flash_attn", "lowest_capability")
    needs = f"it needs an NVIDIA GPU of compute capability {capability_words(lowest)} or newer"
    if case.has_no_gpu:
        return f"{needs}, and there is no NVIDIA GPU"
    if not case.capabilities:
        return f"{needs}; that of this machine is unknown"
    able = [gpu for gpu in case.gpus if gpu.capability and gpu.capability >= lowest]
    gpu = able[0] if able else case.gpus[0]
    words = f"the {gpu.name} has {capability_words(gpu.capability or (0, 0))}"
    return f"{needs}; {words}"


def _awq_answer(case: Case, name: str, capability: tuple[int, int] | None) -> str:
    if capability is None:
        return f"whether the {name} supports flash-attn is unknown"
    pin = facts.fact("autoawq", "pin_without_flash_attn")
    words = f"the {name} (compute capability {capability_words(capability)})"
    if capability > (9, 0):
        return (
            f"{words} supports flash-attn 2.7.3 or newer; autoawq-kernels have no code for it: "
            "AWQ runs through gptqmodel"
        )
    if capability >= (8, 0):
        return f"{words} supports flash-attn, so any autoawq does, 0.2.9 being the last"
    if capability == (7, 5):
        return (
            f"{words} does not support flash-attn, so autoawq has to do without: "
            f"autoawq=={pin} 'autoawq[kernels]=={pin}', or a newer one with fuse_layers=False"
        )
    return (
        f"{words} does not support flash-attn, and autoawq-kernels have no code for it, whatever "
        "the pin: take GGUF, or GPTQ with ExLlama"
        + (" (or autoawq through Triton, slowly)" if capability >= (7, 0) else "")
    )
