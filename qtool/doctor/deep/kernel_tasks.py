"""Which kernels to run on a machine, with which shapes, on which device. Pure but for one file."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from qtool.doctor.case import Case
from qtool.doctor.fit import Device
from qtool.doctor.torch_device import torch_device
from qtool.errors import QtoolError
from qtool.models.info import ModelFormat, ModelInfo

KERNEL_TIMEOUT_S, COMPILING_TIMEOUT_S = 180.0, 900.0
LARGEST_BUDGET_BYTES = 128 * 2**20
SMALLEST_BUDGET_BYTES = 16 * 2**20
BUDGET_SHARE = 1 / 32
"""Of the free memory: a kernel needs several times its weights while they are being made."""
LARGEST_SHARE = 16
"""One matrix in fp32 may take so many times the budget, which is half of what is free."""
UNPACKED_BITS = (2, 4, 8)
HEAD_DIM = 64
"""The widths that are tried are multiples of it."""


@dataclass(frozen=True, slots=True)
class KernelSettings:
    """What a kernel is tried with: a Llama's linear layers of these widths.

    ``budget_bytes`` are the weights that one round reads; more than a cache holds.
    """

    device: str = "cpu"
    hidden: int = 2048
    intermediate: int = 5632
    bits: int = 4
    group: int = 128
    act_order: bool = False
    budget_bytes: int = LARGEST_BUDGET_BYTES
    measure_s: float = 1.0
    without_exllama: bool = False


@dataclass(frozen=True, slots=True)
class KernelTask:
    """One kernel to run: ``half``, ``int4pack``, ``gptq``, ``awq``, or ``gguf`` with its file."""

    kind: str
    settings: KernelSettings
    file: Path | None = None

    @property
    def timeout_s(self) -> float:
        """How long it may take where nobody says otherwise.

        On a GPU gptqmodel compiles its kernels at first use, which takes minutes.
        """
        is_compiled = self.kind in ("gptq", "awq") and self.settings.device != "cpu"
        return COMPILING_TIMEOUT_S if is_compiled else KERNEL_TIMEOUT_S


def plan_kernels(case: Case, gguf: Path | None = None) -> tuple[KernelTask, ...]:
    """Return what can be run in the examined environment, for the model or for any.

    ``gguf`` is decoded with llama.cpp where qtool has that.
    """
    settings = _settings(case)
    kinds = _kinds_for_torch(case, settings) if _is_torch_wanted(case) else ()
    tasks = [KernelTask(kind, settings) for kind in kinds]
    if gguf is not None and case.snapshot.llama_cpp == "xllamacpp":
        tasks.append(KernelTask("gguf", settings, gguf))
    return tuple(tasks)


def _is_torch_wanted(case: Case) -> bool:
    is_gguf = case.model is not None and case.model.format is ModelFormat.GGUF
    return case.torch is not None and not is_gguf


def _kinds_for_torch(case: Case, settings: KernelSettings) -> Iterator[str]:
    yield "half"
    if settings.device == "cpu" and settings.bits == 4:
        yield "int4pack"
    form = case.model.format if case.model else None
    if not case.has("transformers"):
        return
    if form in (None, ModelFormat.GPTQ) and (case.has("gptqmodel") or case.has("auto-gptq")):
        yield "gptq"
    is_by_gptqmodel = case.has("gptqmodel") and case.has_within("transformers", ">=5")
    if form in (None, ModelFormat.AWQ) and (case.has("autoawq") or is_by_gptqmodel):
        yield "awq"


def _settings(case: Case) -> KernelSettings:
    device, _ = torch_device(case)
    settings = KernelSettings(
        device="cuda:0" if device is Device.CUDA or _has_hip(case) else "cpu",
        budget_bytes=_budget(case, device),
        # Without gptqmodel it is auto-gptq, which asks for a GPU unless told otherwise.
        without_exllama=device is not Device.CUDA and not case.has("gptqmodel"),
    )
    return _shaped_like(case.model, settings) if case.model else settings


def _has_hip(case: Case) -> bool:
    """Tell whether torch is AMD's build, which calls its GPUs cuda as well."""
    return bool(case.torch and case.torch.hip)


def _budget(case: Case, device: Device | None) -> int:
    free = [case.snapshot.ram_available_bytes or None]
    if device is Device.CUDA:
        free += [gpu.vram_free_bytes or None for gpu in case.snapshot.gpus or ()][:1]
    known = [int(one * BUDGET_SHARE) for one in free if one]
    return max(SMALLEST_BUDGET_BYTES, min([LARGEST_BUDGET_BYTES, *known]))


def _shaped_like(model: ModelInfo, settings: KernelSettings) -> KernelSettings:
    """Take widths, bits, group size and act-order from a model, as far as they can be tried."""
    widths = read_widths(model.path)
    if widths is None or 4 * widths[0] * widths[1] > LARGEST_SHARE * settings.budget_bytes:
        widths = settings.hidden, settings.intermediate
    hidden, intermediate = widths
    quantization = model.quantization
    if quantization is None or model.format not in (ModelFormat.GPTQ, ModelFormat.AWQ):
        group = _fitting_group(settings.group, hidden, intermediate)
        return replace(settings, hidden=hidden, intermediate=intermediate, group=group)
    bits = int(quantization.bits or 4)
    return replace(
        settings,
        hidden=hidden,
        intermediate=intermediate,
        bits=bits if bits in UNPACKED_BITS else 4,
        group=_fitting_group(quantization.group_size or -1, hidden, intermediate),
        act_order=quantization.is_act_order is True,
    )


def _fitting_group(wanted: int, *widths: int) -> int:
    """Return the group size wanted, or the largest usual one that divides the widths."""
    sizes = (wanted, 128, 64, 32)
    return next(g for g in sizes if g > 0 and not any(width % g for width in widths))


def read_widths(folder: Path) -> tuple[int, int] | None:
    """Return a model's hidden and intermediate width out of its ``config.json``.

    ``None`` where there is none, or widths that no linear layer is tried with.
    """
    from qtool.models.json_file import read_json_fields

    try:
        fields = read_json_fields(folder / "config.json")
        hidden = fields.integer("hidden_size", maximum=2**16)
        intermediate = fields.integer("intermediate_size", maximum=2**18)
    except (QtoolError, OSError):
        return None
    if not hidden or not intermediate or hidden % HEAD_DIM or intermediate % HEAD_DIM:
        return None
    return hidden, intermediate
