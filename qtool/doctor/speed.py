"""How fast a model will decode: an estimate from memory bandwidth. Pure.

Nothing here was measured on a GPU.
"""

from pathlib import Path

from qtool.doctor import facts
from qtool.doctor.case import Case, GpuFacts
from qtool.doctor.fit import Device
from qtool.doctor.snapshot import KernelRun
from qtool.models.info import ModelFormat, ModelInfo


def tokens_per_s(case: Case, model: ModelInfo, engine: str | None, device: Device) -> float | None:
    """Estimate decoding speed: every token reads all weights once and multiplies them.

    Few cores multiply more slowly than memory delivers; the slower of the two counts. Of mixtures
    of experts only some weights are read, how many is not known here: no estimate.
    """
    if not model.weights_bytes or "moe" in (model.architecture or "").lower():
        return None
    bandwidth = _bandwidth(case, device)
    share = _bandwidth_share(engine, device, model)
    if not bandwidth or not share:
        return None
    rate = bandwidth * share
    core_rate = facts.fact("throughput", "core_bytes_per_s").get(f"{engine} {device}")
    if core_rate and case.snapshot.cpu and case.snapshot.cpu.n_cores:
        rate = min(rate, core_rate * case.snapshot.cpu.n_cores)
    return round(rate / model.weights_bytes, 1)


def expected_of_run(case: Case, run: KernelRun) -> float | None:
    """Estimate how many tokens a second the model of a run would decode; ``None`` of products."""
    if not run.is_token or not run.bytes_per_call or run.device != Device.CPU:
        return None
    architecture = case.model.architecture if case.model else None
    model = ModelInfo(
        Path(run.model),
        ModelFormat.GGUF,
        weights_bytes=run.bytes_per_call,
        architecture=architecture,
    )
    return tokens_per_s(case, model, run.engine, Device.CPU)


def tokens_per_s_on(model: ModelInfo, engine: str | None, gpu: GpuFacts) -> float | None:
    """Estimate decoding speed on one GPU alone."""
    bandwidth = facts.bandwidth_bytes_per_s(gpu.name)
    share = _bandwidth_share(engine, Device.CUDA, model)
    is_mixture = "moe" in (model.architecture or "").lower()
    if not bandwidth or not share or not model.weights_bytes or is_mixture:
        return None
    return round(bandwidth * share / model.weights_bytes, 1)


def _bandwidth(case: Case, device: Device) -> float | None:
    if device is Device.CPU:
        return case.snapshot.memory_bandwidth_bytes_per_s or None
    known = [facts.bandwidth_bytes_per_s(gpu.name) for gpu in case.gpus]
    return min((one for one in known if one), default=None) if all(known) else None


def _bandwidth_share(engine: str | None, device: Device, model: ModelInfo) -> float | None:
    is_quantized = model.format not in (ModelFormat.PLAIN, ModelFormat.GGUF)
    is_written_out = model.weights_bytes == 2 * (model.n_params or 0)
    is_unpacked = is_quantized and engine == "transformers" and not is_written_out
    suffix = " quantized" if is_unpacked and device is Device.CPU else ""
    shares = facts.fact("throughput", "bandwidth_share")
    share: float | None = shares.get(f"{engine} {device}{suffix}")
    return share
