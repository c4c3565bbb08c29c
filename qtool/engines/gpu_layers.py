"""How many layers of a GGUF model to put on the GPU, from an estimate of memory."""

from collections.abc import Mapping

from qtool.models.info import ModelInfo
from qtool.models.memory import estimate_memory


def estimate_gpu_layers(
    info: ModelInfo,
    vram_bytes: int,
    *,
    n_ctx_tokens: int,
    kv_bytes_per_element: float = 2,
) -> int | None:
    """Return how many layers fit into ``vram_bytes`` of free memory; ``None`` leaves it open.

    A layer is taken for an equal share of weights and KV cache. All of them is one more than the
    model has, as llama.cpp counts the output layer with them.
    """
    n_layers = info.attention.n_layers if info.attention else 0
    if not n_layers:
        return None
    need = estimate_memory(
        info,
        n_ctx_tokens=n_ctx_tokens,
        kv_bytes_per_element=kv_bytes_per_element,
        is_cuda=True,
    )
    if need.total_bytes <= vram_bytes:
        return n_layers + 1
    per_layer_bytes = (need.weights_bytes + need.kv_cache_bytes) / n_layers
    if not per_layer_bytes:
        return None
    return max(0, min(n_layers, int((vram_bytes - need.overhead_bytes) // per_layer_bytes)))


def free_vram_bytes(environ: Mapping[str, str]) -> int | None:
    """Ask the driver for the memory that is free on all GPUs together; ``None`` is unknown."""
    from qtool.doctor.probes.gpu import GpuProbe
    from qtool.doctor.snapshot import UNKNOWN

    gpus = GpuProbe(environ).result().gpus
    if gpus is UNKNOWN:
        return None
    return sum(gpu.vram_free_bytes or gpu.vram_bytes or 0 for gpu in gpus) or None
