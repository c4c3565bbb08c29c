"""Does a model fit: weights, KV cache and overhead against VRAM and RAM."""

from dataclasses import dataclass
from enum import StrEnum

from qtool.doctor.case import Case
from qtool.models.info import ModelInfo
from qtool.models.memory import MemoryNeed, estimate_memory, largest_context


class Device(StrEnum):
    """What computes."""

    CUDA = "cuda"
    METAL = "metal"
    CPU = "cpu"


@dataclass(frozen=True, slots=True)
class Fit:
    """A model's need on a device against what there is.

    ``fits`` is ``None`` where the memory is unknown. ``n_ctx_max_tokens`` is the longest context
    that fits, ``n_gpu_layers`` how many layers fit on the GPU where not all do (llama.cpp only).
    """

    need: MemoryNeed
    n_ctx_tokens: int
    available_bytes: int | None
    fits: bool | None
    n_ctx_max_tokens: int | None
    n_gpu_layers: int | None = None


def fit_on(case: Case, model: ModelInfo, device: Device) -> Fit:
    """Compare the model's need with the memory of a device; several GPUs count together."""
    is_cuda = device is Device.CUDA
    need = estimate_memory(model, n_ctx_tokens=case.n_ctx_tokens, is_cuda=is_cuda)
    available = vram_bytes(case) if is_cuda else ram_bytes(case)
    if available is None:
        return Fit(need, case.n_ctx_tokens, None, None, None)
    return Fit(
        need=need,
        n_ctx_tokens=case.n_ctx_tokens,
        available_bytes=available,
        fits=need.total_bytes <= available,
        n_ctx_max_tokens=largest_context(model, available, is_cuda=is_cuda),
        n_gpu_layers=_layers_that_fit(model, need, available) if is_cuda else None,
    )


def vram_bytes(case: Case) -> int | None:
    """Return the memory of all GPUs together; ``None`` when any of it is unknown."""
    sizes = [gpu.vram_bytes for gpu in case.gpus]
    known = [size for size in sizes if size]
    return sum(known) if known and len(known) == len(sizes) else None


def ram_bytes(case: Case) -> int | None:
    """Return the memory that programs can have; where that is unknown, all there is."""
    return case.snapshot.ram_available_bytes or case.snapshot.ram_bytes or None


def _layers_that_fit(model: ModelInfo, need: MemoryNeed, available: int) -> int | None:
    n_layers = model.attention.n_layers if model.attention else 0
    if not n_layers or need.total_bytes <= available:
        return None
    per_layer = (need.weights_bytes + need.kv_cache_bytes) / n_layers
    room = available - need.overhead_bytes
    return max(0, min(n_layers, int(room // per_layer))) if per_layer else None
