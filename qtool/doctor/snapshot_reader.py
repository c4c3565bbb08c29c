"""Read snapshots from JSON values.

Reading is lenient, for snapshots come from other versions, other tools and other hands: a field
that is missing or of the wrong type becomes ``UNKNOWN``, never an error.
"""

import re
from collections.abc import Mapping
from typing import Any

from qtool.doctor.json_values import (
    absent_or,
    flag_at,
    is_mapping,
    known_text_at,
    known_texts_in,
    list_in,
    mapping_in,
    number_at,
    strings_in,
    text_at,
    texts_in,
    tuples_in,
    whole_at,
)
from qtool.doctor.snapshot import (
    MIB,
    UNKNOWN,
    Accelerator,
    Cpu,
    Gpu,
    ImportAttempt,
    ImportEnding,
    Interpreter,
    KernelEnding,
    KernelRun,
    LlamaServer,
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
_WENT_WELL = ("", "ok", "success", "imported", "true")


def from_mapping(source: object) -> Snapshot:
    """Read a snapshot; whatever cannot be understood is ``UNKNOWN``."""
    env = mapping_in(source)
    library, kernel = _driver_versions(env)
    return Snapshot(
        os=_read_os(mapping_in(env.get("os"))),
        interpreter=_read_interpreter(env.get("interpreter")),
        python=text_at(env, "python") or UNKNOWN,
        dists=_read_dists(env.get("dists")) if is_mapping(env.get("dists")) else UNKNOWN,
        conda=absent_or(env, "conda", known_texts_in),
        ext_files=tuples_in(env.get("ext_files"), canonical_name),
        import_results=_read_import_results(env.get("import_results")),
        imports=_read_imports(env.get("imports")),
        kernel_runs=_read_kernel_runs(env.get("kernel_runs")),
        missing_symbols=tuples_in(env.get("missing_symbols")),
        missing_libraries=tuples_in(env.get("missing_libraries")),
        requires=tuples_in(env.get("requires"), canonical_name),
        torch=_read_torch(env),
        gpus=read_gpus(env.get("gpus")),
        accelerators=_read_accelerators(env.get("accelerators")),
        driver=library,
        driver_kernel=kernel,
        nvml_error=_read_nvml_error(env),
        nvcc=text_at(env, "nvcc"),
        cuda_toolkits=known_texts_in(env.get("cuda_toolkits")),
        rocm=text_at(env, "rocm"),
        compiler=text_at(env, "compiler"),
        ninja=text_at(env, "ninja"),
        cpu=_read_cpu(mapping_in(env.get("cpu"))),
        ram_bytes=whole_at(env, "ram_bytes"),
        ram_available_bytes=whole_at(env, "ram_available_bytes"),
        disk_free_bytes=whole_at(env, "disk_free_bytes"),
        memory_bandwidth_bytes_per_s=number_at(env, "memory_bandwidth_bytes_per_s"),
        llama_cpp=text_at(env, "llama_cpp"),
        llama_server=_read_llama_server(env),
        env_vars=texts_in(env.get("env_vars")),
        model=_read_model(env.get("model")),
        other_interpreters=_read_others(env.get("other_interpreters")),
        reasons=texts_in(env.get("unknown")),
    )


# --- the parts ------------------------------------------------------------------------------


def _read_os(source: Mapping[str, Any]) -> OperatingSystem:
    distro = text_at(source, "distro")
    return OperatingSystem(
        system=known_text_at(source, "system"),
        distro=distro,
        arch=known_text_at(source, "arch"),
        is_jetson=source.get("jetson") is True,
        is_wsl=source.get("wsl") is True or "WSL" in (distro or ""),
        container=text_at(source, "container"),
        l4t=text_at(source, "l4t"),
        wsl_version=None
        if source.get("wsl_version", 0) is None
        else whole_at(source, "wsl_version"),
    )


def _read_interpreter(value: object) -> Interpreter | Unknown:
    source = mapping_in(value)
    path = source.get("path")
    if not isinstance(path, str):
        return UNKNOWN
    installer = source.get("installer")
    return Interpreter(
        path=path,
        chosen_because=known_text_at(source, "chosen_because") or "",
        installer=installer if installer in ("pip", "uv") else "pip",
        is_externally_managed=source.get("externally_managed") is True,
        has_venv=source.get("has_venv") is not False,
    )


def _read_dists(value: object) -> dict[str, str]:
    return {canonical_name(name): version for name, version in texts_in(value).items()}


def _read_import_results(value: object) -> dict[str, str] | Unknown:
    """Return what imports failed with; other tools write down what went well, too."""
    found = known_texts_in(value)
    if found is UNKNOWN:
        return UNKNOWN
    return {name: text for name, text in found.items() if text.strip().lower() not in _WENT_WELL}


def _read_imports(value: object) -> dict[str, ImportAttempt] | Unknown:
    if not isinstance(value, Mapping):
        return UNKNOWN
    pairs = ((str(name), mapping_in(item)) for name, item in value.items())
    return {
        name: ImportAttempt(
            ending=ImportEnding(item["ending"]),
            detail=text_at(item, "detail") or "",
            where=text_at(item, "where") or "",
            seconds=number_at(item, "seconds"),
            n_output_bytes=whole_at(item, "n_output_bytes"),
        )
        for name, item in pairs
        if item.get("ending") in list(ImportEnding)
    }


def _read_kernel_runs(value: object) -> tuple[KernelRun, ...] | Unknown:
    if not isinstance(value, list):
        return UNKNOWN
    known = list(KernelEnding)
    return tuple(
        read_kernel_run(item) for item in map(mapping_in, value) if item.get("ending") in known
    )


def read_kernel_run(source: Mapping[str, Any]) -> KernelRun:
    """Return a kernel's run; its ``ending`` has to be a known one."""
    return KernelRun(
        kind=text_at(source, "kind") or "",
        ending=KernelEnding(source["ending"]),
        engine=text_at(source, "engine") or "",
        kernel=text_at(source, "kernel") or "",
        device=text_at(source, "device") or "",
        device_name=text_at(source, "device_name") or "",
        relative_error=number_at(source, "relative_error"),
        seconds_per_call=number_at(source, "seconds_per_call"),
        bytes_per_call=whole_at(source, "bytes_per_call"),
        bandwidth_bytes_per_s=number_at(source, "bandwidth_bytes_per_s"),
        is_token=source.get("is_token") is True,
        model=text_at(source, "model") or "",
        detail=text_at(source, "detail") or "",
    )


def _read_torch(env: Mapping[str, Any]) -> TorchBuild | Unknown | None:
    source = env.get("torch", UNKNOWN)
    if source is None:
        return None
    if not isinstance(source, Mapping):
        return UNKNOWN
    archs = source.get("arch_list")
    return TorchBuild(
        version=known_text_at(source, "version"),
        cuda=text_at(source, "cuda"),
        arch_list=strings_in(archs) if isinstance(archs, list) else UNKNOWN,
        has_cxx11_abi=flag_at(source, "cxx11_abi"),
        is_cuda_available=flag_at(source, "cuda_available"),
        is_mps_available=flag_at(source, "mps_available"),
        hip=text_at(source, "hip"),
    )


def read_gpus(value: object) -> tuple[Gpu, ...] | Unknown:
    """Return the GPUs of a list of objects; ``UNKNOWN`` for anything else."""
    if not isinstance(value, list):
        return UNKNOWN
    return tuple(_read_gpu(item) for item in value if isinstance(item, Mapping))


def _read_gpu(source: Mapping[str, Any]) -> Gpu:
    vram, free = number_at(source, "vram_mib"), number_at(source, "vram_free_mib")
    return Gpu(
        name=known_text_at(source, "name"),
        compute_capability=parse_capability(source.get("cc")) or UNKNOWN,
        vram_bytes=UNKNOWN if vram is UNKNOWN else int(vram * MIB),
        vram_free_bytes=UNKNOWN if free is UNKNOWN else int(free * MIB),
    )


def _read_accelerators(value: object) -> tuple[Accelerator, ...] | Unknown:
    if not isinstance(value, list):
        return UNKNOWN
    return tuple(
        Accelerator(
            vendor=text_at(item, "vendor") or "",
            name=known_text_at(item, "name"),
            arch=known_text_at(item, "arch"),
            memory_bytes=whole_at(item, "memory_bytes"),
        )
        for item in value
        if isinstance(item, Mapping)
    )


def _driver_versions(env: Mapping[str, Any]) -> tuple[Maybe[str], Maybe[str]]:
    """Return the versions of the driver's library and of its kernel module.

    Some tools write both into one string or object; two versions there mean library and kernel.
    """
    kernel = text_at(env, "driver_kernel")
    value = env.get("driver", UNKNOWN)
    if value is None:
        return None, kernel
    if isinstance(value, Mapping):
        library = known_text_at(value, "library") or known_text_at(value, "nvml")
        return library, known_text_at(value, "kernel") or known_text_at(value, "module") or kernel
    if not isinstance(value, str):
        return UNKNOWN, kernel
    versions = re.findall(r"\b\d{3}\.\d+(?:\.\d+)*", value)
    if len(versions) > 1:
        return versions[0], versions[1]
    return value, kernel


def _read_nvml_error(env: Mapping[str, Any]) -> Maybe[str]:
    """Return NVML's error; other tools' snapshots have the telling one under other names."""
    said = (text for value in env.values() for text in _texts_within(value))
    return next((t for t in said if MISMATCH in t.lower()), None) or text_at(env, "nvml_error")


def _texts_within(value: object) -> tuple[str, ...]:
    """Return a text, or the texts directly inside an object."""
    return (value,) if isinstance(value, str) else tuple(texts_in(value).values())


def _read_llama_server(env: Mapping[str, Any]) -> Maybe[LlamaServer]:
    source = env.get("llama_server", UNKNOWN)
    if source is None:
        return None
    if not isinstance(source, Mapping) or not (path := text_at(source, "path")):
        return UNKNOWN
    libraries = source.get("gpu_libraries")
    return LlamaServer(path, strings_in(libraries) if isinstance(libraries, list) else UNKNOWN)


def _read_cpu(source: Mapping[str, Any]) -> Cpu:
    flags = source.get("flags")
    return Cpu(
        name=known_text_at(source, "name"),
        n_cores=whole_at(source, "n_cores"),
        flags=strings_in(flags) if isinstance(flags, list) else UNKNOWN,
    )


def _read_model(value: object) -> SnapshotModel | None:
    if not isinstance(value, Mapping):
        return None
    return SnapshotModel(
        name=known_text_at(value, "id") or "model",
        format=known_text_at(value, "format"),
        n_parameters=whole_at(value, "params"),
        bits=number_at(value, "bits"),
        group_size=whole_at(value, "group_size"),
        n_layers=whole_at(value, "n_layers"),
        n_kv_heads=whole_at(value, "n_kv_heads"),
        head_dim=whole_at(value, "head_dim"),
        n_ctx_tokens=whole_at(value, "context"),
    )


def _read_others(value: object) -> tuple[OtherInterpreter, ...]:
    return tuple(
        OtherInterpreter(item["path"], _read_dists(item.get("dists")))
        for item in list_in(value)
        if isinstance(item, Mapping) and isinstance(item.get("path"), str)
    )
