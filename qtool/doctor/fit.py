"""Does a model fit: weights, KV cache and overhead against VRAM and RAM. Pure."""

from dataclasses import dataclass, replace
from enum import StrEnum

from qtool.doctor.case import Case, GpuFacts
from qtool.models.info import ModelFormat, ModelInfo
from qtool.models.memory import (
    BUFFER_SHARE,
    CUDA_CONTEXT_BYTES,
    MemoryNeed,
    estimate_memory,
    largest_context,
)

# Less than this is no conversation; an engine that chooses its context itself goes no lower.
MINIMUM_CONTEXT_TOKENS = 512


class Device(StrEnum):
    """What computes."""

    CUDA = "cuda"
    METAL = "metal"
    CPU = "cpu"


class FitKind(StrEnum):
    """How a model fits into the memory of a device."""

    FITS = "fits"
    WITH_LAYERS = "with-layers"  # so many layers on the GPU, the others in RAM (llama.cpp only)
    WITH_CONTEXT = "with-context"  # with a shorter context than the one reckoned with
    DOES_NOT_FIT = "does-not-fit"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Fit:
    """A model's need on a device against what there is.

    ``fits`` is ``None`` where the memory is unknown. ``n_ctx_max_tokens`` is the longest context
    that fits; ``n_gpu_layers`` how many layers fit on the GPU where not all do and RAM has room
    for the others; ``bits_that_fit`` how many bits a weight may have on the average, all included,
    for a variant of the model to fit.
    """

    need: MemoryNeed
    n_ctx_tokens: int
    available_bytes: int | None
    fits: bool | None
    n_ctx_max_tokens: int | None
    n_gpu_layers: int | None = None
    bits_that_fit: float | None = None

    @property
    def kind(self) -> FitKind:
        """How it fits, the best that can be said."""
        if self.fits is None:
            return FitKind.UNKNOWN
        if self.fits:
            return FitKind.FITS
        if self.n_gpu_layers:
            return FitKind.WITH_LAYERS
        if (self.n_ctx_max_tokens or 0) >= MINIMUM_CONTEXT_TOKENS:
            return FitKind.WITH_CONTEXT
        return FitKind.DOES_NOT_FIT


def fit_on(case: Case, model: ModelInfo, device: Device) -> Fit:
    """Compare the model's need with the memory of a device; several GPUs count together."""
    is_cuda = device is Device.CUDA
    if is_cuda and len(case.gpus) > 1:
        return _fit_on_several(case, model)
    return fit_into(case, model, memory_of(case, device), is_cuda=is_cuda)


def fit_on_gpu(case: Case, model: ModelInfo, gpu: GpuFacts) -> Fit:
    """Compare the model's need with the memory of one GPU alone."""
    return fit_into(case, model, gpu.vram_bytes, is_cuda=True)


def _fit_on_several(case: Case, model: ModelInfo) -> Fit:
    """Spread the model over all GPUs, unless one alone has room for it.

    Every GPU that takes part has a CUDA context of its own.
    """
    sizes = [gpu.vram_bytes or 0 for gpu in case.gpus]
    if all(sizes):
        alone = fit_into(case, model, max(sizes), is_cuda=True)
        if alone.fits:
            return alone
    return fit_into(case, model, vram_bytes(case), is_cuda=True, n_gpus=len(case.gpus))


def fit_into(
    case: Case, model: ModelInfo, available_bytes: int | None, *, is_cuda: bool, n_gpus: int = 1
) -> Fit:
    """Compare the model's need with so much memory; with ``is_cuda`` it is that of ``n_gpus``."""
    n_ctx = case.n_ctx_tokens
    need = estimate_memory(model, n_ctx_tokens=n_ctx, is_cuda=is_cuda)
    other_contexts = (n_gpus - 1) * CUDA_CONTEXT_BYTES if is_cuda else 0
    need = replace(need, overhead_bytes=need.overhead_bytes + other_contexts)
    if available_bytes is None:
        return Fit(need, n_ctx, None, None, None)
    room = available_bytes - other_contexts
    fits = need.total_bytes <= available_bytes
    is_split = is_cuda and not fits and model.format is ModelFormat.GGUF
    return Fit(
        need=need,
        n_ctx_tokens=n_ctx,
        available_bytes=available_bytes,
        fits=fits,
        n_ctx_max_tokens=largest_context(model, room, is_cuda=is_cuda) if room > 0 else None,
        n_gpu_layers=_layers_that_fit(case, model, need, available_bytes) if is_split else None,
        bits_that_fit=None if fits else _bits_that_fit(model, need, available_bytes),
    )


def memory_of(case: Case, device: Device) -> int | None:
    """Return the memory that a device has for programs; ``None`` when it is unknown."""
    return vram_bytes(case) if device is Device.CUDA else ram_bytes(case)


def vram_bytes(case: Case) -> int | None:
    """Return the memory of all GPUs together; ``None`` when any of it is unknown."""
    sizes = [gpu.vram_bytes for gpu in case.gpus]
    known = [size for size in sizes if size]
    return sum(known) if known and len(known) == len(sizes) else None


def ram_bytes(case: Case) -> int | None:
    """Return the memory that programs can have; where that is unknown, all there is."""
    return case.snapshot.ram_available_bytes or case.snapshot.ram_bytes or None


def _layers_that_fit(
    case: Case, model: ModelInfo, need: MemoryNeed, available_bytes: int
) -> int | None:
    """Return how many layers the GPU holds, ``None`` where RAM has no room for the others.

    A layer is taken for an equal share of weights and KV cache.
    """
    n_layers = model.attention.n_layers if model.attention else 0
    if not n_layers:
        return None
    per_layer = (need.weights_bytes + need.kv_cache_bytes) / n_layers
    room = available_bytes - need.overhead_bytes
    n_on_gpu = max(0, min(n_layers, int(room // per_layer))) if per_layer else 0
    ram = ram_bytes(case)
    rest = need.total_bytes - n_on_gpu * per_layer
    return n_on_gpu if ram is None or rest <= ram else None


def _bits_that_fit(model: ModelInfo, need: MemoryNeed, available_bytes: int) -> float | None:
    """Return the bits a weight that would leave room for the same KV cache and overhead."""
    if not model.n_params or not need.weights_bytes:
        return None
    fixed_bytes = need.overhead_bytes - BUFFER_SHARE * (need.weights_bytes + need.kv_cache_bytes)
    room = (available_bytes - fixed_bytes) / (1 + BUFFER_SHARE) - need.kv_cache_bytes
    bits = 8 * room / model.n_params
    return round(bits, 2) if bits > 0 else None
