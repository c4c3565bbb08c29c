"""Write snapshots as JSON values: what is ``UNKNOWN`` is left out, what is absent is null."""

from collections.abc import Mapping
from typing import Any

from qtool.doctor.snapshot import MIB, UNKNOWN, Gpu, Snapshot, SnapshotModel
from qtool.doctor.versions import capability_words

_OPTIONAL: dict[str, Any] = {
    "model": None,
    "other_interpreters": [],
    "unknown": {},
    "missing_libraries": {},
}
_TORCH_NAMES = {
    "has_cxx11_abi": "cxx11_abi",
    "is_cuda_available": "cuda_available",
    "is_mps_available": "mps_available",
}


def to_mapping(snapshot: Snapshot) -> dict[str, Any]:
    """Return the snapshot as JSON values; what is ``UNKNOWN`` is left out."""
    env: dict[str, Any] = {}
    for name in Snapshot.__dataclass_fields__:
        env[name] = _plain(getattr(snapshot, name))
    env["os"] = _renamed(env["os"], {"is_jetson": "jetson", "is_wsl": "wsl"})
    python_names = {"is_externally_managed": "externally_managed"}
    env["interpreter"] = _renamed(env["interpreter"], python_names)
    env["torch"] = _renamed(env["torch"], _TORCH_NAMES)
    if snapshot.gpus is not UNKNOWN:
        env["gpus"] = [_gpu_to_mapping(gpu) for gpu in snapshot.gpus]
    if snapshot.model is not None:
        env["model"] = _model_to_mapping(snapshot.model)
    env["unknown"] = env.pop("reasons")
    return {
        key: value
        for key, value in env.items()
        if value is not UNKNOWN and not (key in _OPTIONAL and value == _OPTIONAL[key])
    }


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        parts = {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
        return {name: part for name, part in parts.items() if part is not UNKNOWN}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if not isinstance(value, dict):
        return value
    return {names.get(key, key): item for key, item in value.items()}


def _gpu_to_mapping(gpu: Gpu) -> dict[str, Any]:
    item: dict[str, Any] = {}
    if gpu.name is not UNKNOWN:
        item["name"] = gpu.name
    if gpu.compute_capability is not UNKNOWN:
        item["cc"] = capability_words(gpu.compute_capability)
    if gpu.vram_bytes is not UNKNOWN:
        item["vram_mib"] = _mib(gpu.vram_bytes)
    if gpu.vram_free_bytes is not UNKNOWN:
        item["vram_free_mib"] = _mib(gpu.vram_free_bytes)
    return item


def _mib(size_bytes: int) -> int | float:
    """Return a size in MiB, with a fraction only where there is one."""
    return size_bytes / MIB if size_bytes % MIB else size_bytes // MIB


def _model_to_mapping(model: SnapshotModel) -> dict[str, Any]:
    names = {"name": "id", "n_parameters": "params", "n_ctx_tokens": "context"}
    return dict(_renamed(_plain(model), names))
