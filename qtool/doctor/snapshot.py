"""A plain, serialisable picture of a machine: what the rules look at and nothing else does.

Three answers are kept apart everywhere: a value, ``None`` (looked, and it is not there) and
``UNKNOWN`` (could not look). In JSON they are the value, ``null``, and an absent key.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, TypeVar


class Unknown(Enum):
    """The type of ``UNKNOWN``: nobody could look, which is not the same as absent."""

    UNKNOWN = "unknown"

    def __bool__(self) -> Literal[False]:
        """Be false, so that ``if value`` means "there is one"."""
        return False


UNKNOWN: Final = Unknown.UNKNOWN
MIB = 1024 * 1024

T = TypeVar("T")
Maybe: TypeAlias = T | Unknown | None

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class OperatingSystem:
    """The system as ``platform`` names it: ``Linux``, ``Windows``, ``Darwin``.

    ``l4t``: NVIDIA's Linux for Jetson, its release. ``wsl_version``: 1 (no GPU) or 2.
    """

    system: str | Unknown = UNKNOWN
    distro: Maybe[str] = UNKNOWN
    arch: str | Unknown = UNKNOWN
    is_jetson: bool = False
    is_wsl: bool = False
    container: Maybe[str] = UNKNOWN
    l4t: Maybe[str] = UNKNOWN
    wsl_version: Maybe[int] = UNKNOWN


@dataclass(frozen=True, slots=True)
class Interpreter:
    """The examined Python: where it is, why it was chosen, what installs into it.

    ``is_externally_managed``: it is no environment and its distribution forbids pip (PEP 668).
    ``has_venv``: it can make environments (Debian has that in a package of its own).
    """

    path: str
    chosen_because: str
    installer: str = "pip"  # pip | uv
    is_externally_managed: bool = False
    has_venv: bool = True


@dataclass(frozen=True, slots=True)
class OtherInterpreter:
    """Another Python on the machine and the distributions of interest it holds."""

    path: str
    dists: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TorchBuild:
    """The installed torch as its files tell it. ``arch_list``: ``sm_80``, ``compute_90``, …"""

    version: str | Unknown = UNKNOWN
    cuda: Maybe[str] = UNKNOWN
    arch_list: tuple[str, ...] | Unknown = UNKNOWN
    has_cxx11_abi: bool | Unknown = UNKNOWN
    is_cuda_available: bool | Unknown = UNKNOWN
    is_mps_available: bool | Unknown = UNKNOWN
    hip: Maybe[str] = UNKNOWN


@dataclass(frozen=True, slots=True)
class Gpu:
    """One NVIDIA GPU. ``compute_capability`` as (major, minor)."""

    name: str | Unknown = UNKNOWN
    compute_capability: tuple[int, int] | Unknown = UNKNOWN
    vram_bytes: int | Unknown = UNKNOWN
    vram_free_bytes: int | Unknown = UNKNOWN


@dataclass(frozen=True, slots=True)
class Accelerator:
    """What computes besides CPU and NVIDIA GPUs. ``vendor``: ``AMD``, ``Intel``, ``Apple``.

    ``arch``: ``gfx1100`` or ``Metal``. ``memory_bytes`` of an Apple chip are the machine's.
    """

    vendor: str
    name: str | Unknown = UNKNOWN
    arch: str | Unknown = UNKNOWN
    memory_bytes: int | Unknown = UNKNOWN


@dataclass(frozen=True, slots=True)
class LlamaServer:
    """A ``llama-server`` on PATH. ``gpu_libraries``: what it computes with on GPUs."""

    path: str
    gpu_libraries: tuple[str, ...] | Unknown = UNKNOWN


@dataclass(frozen=True, slots=True)
class Cpu:
    """The processor, as far as inference cares."""

    name: str | Unknown = UNKNOWN
    n_cores: int | Unknown = UNKNOWN
    flags: tuple[str, ...] | Unknown = UNKNOWN


class ImportEnding(StrEnum):
    """How the import of a module ended."""

    IMPORTED = "imported"
    RAISED = "raised"
    CRASHED = "crashed"
    HUNG = "hung"
    EXITED = "exited"  # in the middle of it, without an exception


@dataclass(frozen=True, slots=True)
class ImportAttempt:
    """What came of importing a module in a process of its own.

    Attributes:
        detail: The exception's type and last line, or the signal's name; empty if it imported.
        where: The file and line that raised, from site-packages on, where that is known.
        n_output_bytes: How much the import printed.
    """

    ending: ImportEnding
    detail: str = ""
    where: str = ""
    seconds: float | Unknown = UNKNOWN
    n_output_bytes: int | Unknown = UNKNOWN

    @property
    def failed(self) -> bool:
        """Tell whether the module cannot be used."""
        return self.ending is not ImportEnding.IMPORTED


class KernelEnding(StrEnum):
    """What came of running a kernel."""

    MEASURED = "measured"
    RAISED = "raised"
    CRASHED = "crashed"
    HUNG = "hung"


@dataclass(frozen=True, slots=True)
class KernelRun:
    """One kernel run for real: a product with one row, as in decoding, or a whole token.

    Attributes:
        kind: ``half`` (not quantized), ``int4pack``, ``gptq``, ``awq`` or ``gguf``.
        kernel: The class or function that did it, as its engine names it.
        relative_error: Distance from the product in fp32, as a part of its length.
        bytes_per_call: The weights that one call reads.
        bandwidth_bytes_per_s: What a copy on the same device reached in the same run.
        is_token: A call is a token of a whole model, not one product.
        model: The name of that model's file.
        detail: What was raised, or how the child died; empty if it was measured.
    """

    kind: str
    ending: KernelEnding
    engine: str = ""
    kernel: str = ""
    device: str = ""
    device_name: str = ""
    relative_error: float | Unknown = UNKNOWN
    seconds_per_call: float | Unknown = UNKNOWN
    bytes_per_call: int | Unknown = UNKNOWN
    bandwidth_bytes_per_s: float | Unknown = UNKNOWN
    is_token: bool = False
    model: str = ""
    detail: str = ""

    @property
    def bytes_per_s(self) -> float | None:
        """The weights read a second."""
        if not self.seconds_per_call or not self.bytes_per_call:
            return None
        return self.bytes_per_call / self.seconds_per_call

    @property
    def bandwidth_share(self) -> float | None:
        """The part of the memory bandwidth that its weights take; above 1 is a cache's doing."""
        rate = self.bytes_per_s
        return rate / self.bandwidth_bytes_per_s if rate and self.bandwidth_bytes_per_s else None


@dataclass(frozen=True, slots=True)
class SnapshotModel:
    """The shape of a model described inside a snapshot, for a machine without its files."""

    name: str = "model"
    format: str | Unknown = UNKNOWN
    n_parameters: int | Unknown = UNKNOWN
    bits: float | Unknown = UNKNOWN
    group_size: int | Unknown = UNKNOWN
    n_layers: int | Unknown = UNKNOWN
    n_kv_heads: int | Unknown = UNKNOWN
    head_dim: int | Unknown = UNKNOWN
    n_ctx_tokens: int | Unknown = UNKNOWN


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything doctor knows about a machine; see ``snapshot_reader`` for the JSON shape.

    Attributes:
        dists: Canonical name to version, of the examined interpreter.
        ext_files: Compiled modules by distribution. A distribution that is not a key was not
            looked at; an empty tuple means it has none.
        import_results: Error text by module, from real imports; ``UNKNOWN`` when nothing was
            imported, and a module that is not a key imported well.
        imports: What came of each import, by module; ``UNKNOWN`` without ``--deep``.
        kernel_runs: What came of running kernels; ``UNKNOWN`` without ``--run``.
        missing_symbols: Undefined symbols of torch's namespaces that the installed torch does not
            export, by module; an empty tuple means all of them resolve.
        missing_libraries: Shared libraries a module needs that are not to be found.
        requires: ``Requires-Dist`` lines by distribution.
        driver: Version of the driver's user-space library; ``driver_kernel`` of the kernel module.
        conda: Name to version of what conda put into the interpreter's prefix; ``None`` if it is
            no environment of conda's.
        accelerators: Those that are not NVIDIA's.
        cuda_toolkits: Folder to version (``?`` where that is not to be read).
        rocm: Version of AMD's toolkit in ``/opt/rocm``.
        nvml_error: What NVML answered instead of a driver version.
        llama_cpp: How llama.cpp can be run from qtool, e.g. ``xllamacpp``; ``None`` if it cannot.
        llama_server: The one on PATH.
        reasons: Why a field is ``UNKNOWN``, by field name.
    """

    os: OperatingSystem = OperatingSystem()
    interpreter: Interpreter | Unknown = UNKNOWN
    python: str | Unknown = UNKNOWN
    dists: Mapping[str, str] | Unknown = UNKNOWN
    conda: Mapping[str, str] | Unknown | None = UNKNOWN
    ext_files: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _NOTHING)
    import_results: Mapping[str, str] | Unknown = UNKNOWN
    imports: Mapping[str, ImportAttempt] | Unknown = UNKNOWN
    kernel_runs: tuple[KernelRun, ...] | Unknown = UNKNOWN
    missing_symbols: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _NOTHING)
    missing_libraries: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _NOTHING)
    requires: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _NOTHING)
    torch: TorchBuild | Unknown | None = UNKNOWN
    gpus: tuple[Gpu, ...] | Unknown = UNKNOWN
    accelerators: tuple[Accelerator, ...] | Unknown = UNKNOWN
    driver: Maybe[str] = UNKNOWN
    driver_kernel: Maybe[str] = UNKNOWN
    nvml_error: Maybe[str] = UNKNOWN
    nvcc: Maybe[str] = UNKNOWN
    cuda_toolkits: Mapping[str, str] | Unknown = UNKNOWN
    rocm: Maybe[str] = UNKNOWN
    compiler: Maybe[str] = UNKNOWN
    ninja: Maybe[str] = UNKNOWN
    cpu: Cpu = Cpu()
    ram_bytes: int | Unknown = UNKNOWN
    ram_available_bytes: int | Unknown = UNKNOWN
    disk_free_bytes: int | Unknown = UNKNOWN
    memory_bandwidth_bytes_per_s: float | Unknown = UNKNOWN
    llama_cpp: Maybe[str] = UNKNOWN
    llama_server: Maybe[LlamaServer] = UNKNOWN
    env_vars: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    model: SnapshotModel | None = None
    other_interpreters: tuple[OtherInterpreter, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=lambda: _NOTHING)


def canonical_name(name: str) -> str:
    """Return a distribution's name as PEP 503 spells it: ``auto_gptq`` is ``auto-gptq``."""
    parts = name.lower().replace("_", "-").replace(".", "-").split("-")
    return "-".join(part for part in parts if part)
