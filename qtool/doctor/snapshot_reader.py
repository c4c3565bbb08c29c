"""Read snapshots from JSON values.

Reading is lenient, for snapshots come from other versions, other tools and other hands: a field
that is missing or of the wrong type becomes ``UNKNOWN``, never an error.
"""

import re
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

from qtool.doctor.snapshot import (
    MIB,
    UNKNOWN,
    Cpu,
    Gpu,
    ImportAttempt,
    ImportEnding,
    Interpreter,
    KernelEnding,
    KernelRun,
    Maybe,
    OperatingSystem,
    OtherInterpreter,
    Snapshot,
    SnapshotModel,
    TorchBuild,
    Unknown,
    canonical_name,
)
from qtool.doctor.versions import parse_capability

MISMATCH = "driver/library version mismatch"


def from_mapping(source: object) -> Snapshot:
    """Read a snapshot; whatever cannot be understood is ``UNKNOWN``."""
    env = _mapping(source)
    library, kernel = _driver_versions(env)
    return Snapshot(
        os=_read_os(_mapping(env.get("os"))),
        interpreter=_read_interpreter(env.get("interpreter")),
        python=_text(env, "python") or UNKNOWN,
        dists=_read_dists(env.get("dists")) if _is_mapping(env.get("dists")) else UNKNOWN,
        ext_files=_tuples(env.get("ext_files"), canonical_name),
        import_results=_read_import_results(env.get("import_results")),
        imports=_read_imports(env.get("imports")),
        kernel_runs=_read_kernel_runs(env.get("kernel_runs")),
        missing_symbols=_tuples(env.get("missing_symbols")),
        missing_libraries=_tuples(env.get("missing_libraries")),
        requires=_tuples(env.get("requires"), canonical_name),
        torch=_read_torch(env),
        gpus=read_gpus(env.get("gpus")),
        driver=library,
        driver_kernel=kernel,
        nvml_error=_read_nvml_error(env),
        nvcc=_text(env, "nvcc"),
        compiler=_text(env, "compiler"),
        ninja=_text(env, "ninja"),
        cpu=_read_cpu(_mapping(env.get("cpu"))),
        ram_bytes=_whole(env, "ram_bytes"),
        ram_available_bytes=_whole(env, "ram_available_bytes"),
        disk_free_bytes=_whole(env, "disk_free_bytes"),
        memory_bandwidth_bytes_per_s=_number(env, "memory_bandwidth_bytes_per_s"),
        llama_cpp=_text(env, "llama_cpp"),
        env_vars=_texts(env.get("env_vars")),
        model=_read_model(env.get("model")),
        other_interpreters=_read_others(env.get("other_interpreters")),
        reasons=_texts(env.get("unknown")),
    )


# --- values of one type, or UNKNOWN ---------------------------------------------------------


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(source: Mapping[str, Any], key: str) -> Maybe[str]:
    value = source.get(key, UNKNOWN)
    return value if value is None or isinstance(value, str) else UNKNOWN


def _known_text(source: Mapping[str, Any], key: str) -> str | Unknown:
    return _text(source, key) or UNKNOWN


def _flag(source: Mapping[str, Any], key: str) -> bool | Unknown:
    value = source.get(key)
    return value if isinstance(value, bool) else UNKNOWN


def _number(source: Mapping[str, Any], key: str) -> float | Unknown:
    value = source.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return UNKNOWN
    return value if isfinite(value) and 0 <= value < 2**63 else UNKNOWN


def _whole(source: Mapping[str, Any], key: str) -> int | Unknown:
    value = _number(source, key)
    return UNKNOWN if value is UNKNOWN else int(value)


def _texts(value: object) -> dict[str, str]:
    return {str(k): v for k, v in _mapping(value).items() if isinstance(v, str)}


def _strings(value: object) -> tuple[str, ...]:
    return tuple(item for item in _list(value) if isinstance(item, str))


def _tuples(value: object, key: Callable[[str], str] = str) -> dict[str, tuple[str, ...]]:
    pairs = _mapping(value).items()
    return {key(str(name)): _strings(items) for name, items in pairs if isinstance(items, list)}


# --- the parts ------------------------------------------------------------------------------


def _read_os(source: Mapping[str, Any]) -> OperatingSystem:
    distro = _text(source, "distro")
    return OperatingSystem(
        system=_known_text(source, "system"),
        distro=distro,
        arch=_known_text(source, "arch"),
        is_jetson=source.get("jetson") is True,
        is_wsl=source.get("wsl") is True or "WSL" in (distro or ""),
        container=_text(source, "container"),
    )


def _read_interpreter(value: object) -> Interpreter | Unknown:
    source = _mapping(value)
    path = source.get("path")
    if not isinstance(path, str):
        return UNKNOWN
    installer = source.get("installer")
    return Interpreter(
        path=path,
        chosen_because=_known_text(source, "chosen_because") or "",
        installer=installer if installer in ("pip", "uv") else "pip",
        is_externally_managed=source.get("externally_managed") is True,
        has_venv=source.get("has_venv") is not False,
    )


def _read_dists(value: object) -> dict[str, str]:
    return {canonical_name(name): version for name, version in _texts(value).items()}


def _read_import_results(value: object) -> dict[str, str] | Unknown:
    return _texts(value) if isinstance(value, Mapping) else UNKNOWN


def _read_imports(value: object) -> dict[str, ImportAttempt] | Unknown:
    if not isinstance(value, Mapping):
        return UNKNOWN
    pairs = ((str(name), _mapping(item)) for name, item in value.items())
    return {
        name: ImportAttempt(
            ending=ImportEnding(item["ending"]),
            detail=_text(item, "detail") or "",
            where=_text(item, "where") or "",
            seconds=_number(item, "seconds"),
            n_output_bytes=_whole(item, "n_output_bytes"),
        )
        for name, item in pairs
        if item.get("ending") in list(ImportEnding)
    }


def _read_kernel_runs(value: object) -> tuple[KernelRun, ...] | Unknown:
    if not isinstance(value, list):
        return UNKNOWN
    known = list(KernelEnding)
    return tuple(
        read_kernel_run(item) for item in map(_mapping, value) if item.get("ending") in known
    )


def read_kernel_run(source: Mapping[str, Any]) -> KernelRun:
    """Return a kernel's run; its ``ending`` has to be a known one."""
    return KernelRun(
        kind=_text(source, "kind") or "",
        ending=KernelEnding(source["ending"]),
        engine=_text(source, "engine") or "",
        kernel=_text(source, "kernel") or "",
        device=_text(source, "device") or "",
        device_name=_text(source, "device_name") or "",
        relative_error=_number(source, "relative_error"),
        seconds_per_call=_number(source, "seconds_per_call"),
        bytes_per_call=_whole(source, "bytes_per_call"),
        bandwidth_bytes_per_s=_number(source, "bandwidth_bytes_per_s"),
        is_token=source.get("is_token") is True,
        detail=_text(source, "detail") or "",
    )


def _read_torch(env: Mapping[str, Any]) -> TorchBuild | Unknown | None:
    source = env.get("torch", UNKNOWN)
    if source is None:
        return None
    if not isinstance(source, Mapping):
        return UNKNOWN
    archs = source.get("arch_list")
    return TorchBuild(
        version=_known_text(source, "version"),
        cuda=_text(source, "cuda"),
        arch_list=_strings(archs) if isinstance(archs, list) else UNKNOWN,
        has_cxx11_abi=_flag(source, "cxx11_abi"),
        is_cuda_available=_flag(source, "cuda_available"),
        is_mps_available=_flag(source, "mps_available"),
        hip=_text(source, "hip"),
    )


def read_gpus(value: object) -> tuple[Gpu, ...] | Unknown:
    """Return the GPUs of a list of objects; ``UNKNOWN`` for anything else."""
    if not isinstance(value, list):
        return UNKNOWN
    return tuple(_read_gpu(item) for item in value if isinstance(item, Mapping))


def _read_gpu(source: Mapping[str, Any]) -> Gpu:
    vram, free = _number(source, "vram_mib"), _number(source, "vram_free_mib")
    return Gpu(
        name=_known_text(source, "name"),
        compute_capability=parse_capability(source.get("cc")) or UNKNOWN,
        vram_bytes=UNKNOWN if vram is UNKNOWN else int(vram * MIB),
        vram_free_bytes=UNKNOWN if free is UNKNOWN else int(free * MIB),
    )


def _driver_versions(env: Mapping[str, Any]) -> tuple[Maybe[str], Maybe[str]]:
    """Return the versions of the driver's library and of its kernel module.

    Some tools write both into one string or object; two versions there mean library and kernel.
    """
    kernel = _text(env, "driver_kernel")
    value = env.get("driver", UNKNOWN)
    if value is None:
        return None, kernel
    if isinstance(value, Mapping):
        library = _known_text(value, "library") or _known_text(value, "nvml")
        return library, _known_text(value, "kernel") or _known_text(value, "module") or kernel
    if not isinstance(value, str):
        return UNKNOWN, kernel
    versions = re.findall(r"\b\d{3}\.\d+(?:\.\d+)*", value)
    if len(versions) > 1:
        return versions[0], versions[1]
    return value, kernel


def _read_nvml_error(env: Mapping[str, Any]) -> Maybe[str]:
    """Return NVML's error; other tools' snapshots have the telling one under other names."""
    said = (text for value in env.values() for text in _texts_within(value))
    return next((t for t in said if MISMATCH in t.lower()), None) or _text(env, "nvml_error")


def _texts_within(value: object) -> tuple[str, ...]:
    """Return a text, or the texts directly inside an object."""
    return (value,) if isinstance(value, str) else tuple(_texts(value).values())


def _read_cpu(source: Mapping[str, Any]) -> Cpu:
    flags = source.get("flags")
    return Cpu(
        name=_known_text(source, "name"),
        n_cores=_whole(source, "n_cores"),
        flags=_strings(flags) if isinstance(flags, list) else UNKNOWN,
    )


def _read_model(value: object) -> SnapshotModel | None:
    if not isinstance(value, Mapping):
        return None
    return SnapshotModel(
        name=_known_text(value, "id") or "model",
        format=_known_text(value, "format"),
        n_parameters=_whole(value, "params"),
        bits=_number(value, "bits"),
        group_size=_whole(value, "group_size"),
        n_layers=_whole(value, "n_layers"),
        n_kv_heads=_whole(value, "n_kv_heads"),
        head_dim=_whole(value, "head_dim"),
        n_ctx_tokens=_whole(value, "context"),
    )


def _read_others(value: object) -> tuple[OtherInterpreter, ...]:
    return tuple(
        OtherInterpreter(item["path"], _read_dists(item.get("dists")))
        for item in _list(value)
        if isinstance(item, Mapping) and isinstance(item.get("path"), str)
    )
