"""What a rule looks at: a snapshot, the user's goal, and questions that are asked often."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtool.doctor import facts
from qtool.doctor.described import describe, goal_of
from qtool.doctor.finding import Goal, Severity
from qtool.doctor.snapshot import UNKNOWN, Gpu, Snapshot, TorchBuild
from qtool.doctor.versions import Capability, is_within, number_tuple, parse_arch, parse_version
from qtool.models.info import ModelInfo
from qtool.models.memory import DEFAULT_CONTEXT_TOKENS

if TYPE_CHECKING:
    from qtool.envs.environment import Environment


@dataclass(frozen=True, slots=True)
class GpuFacts:
    """A GPU with its capability resolved, by name where the driver did not tell."""

    name: str
    capability: Capability | None
    vram_bytes: int | None


@dataclass(frozen=True, slots=True)
class Case:
    """A machine and what its user wants of it. ``goal`` is ``None`` for "just look around".

    ``is_ctx_asked``: the context length is the user's wish, not a default. ``unreachable``:
    addresses of wheel indexes that are known not to answer. ``environments``: those that
    ``qtool env`` made on this machine. ``model_origin``: the repository that the model is from.
    """

    snapshot: Snapshot
    goal: Goal | None = None
    model: ModelInfo | None = None
    n_ctx_tokens: int = DEFAULT_CONTEXT_TOKENS
    is_ctx_asked: bool = False
    unreachable: frozenset[str] = frozenset()
    environments: "tuple[Environment, ...]" = ()
    model_origin: str | None = None

    # --- distributions ---

    def version(self, name: str) -> str | None:
        """Return the installed version of ``name``; ``None`` if absent or unknown."""
        dists = self.snapshot.dists
        return None if dists is UNKNOWN else dists.get(name)

    def has(self, name: str) -> bool:
        """Tell whether ``name`` is known to be installed."""
        return self.version(name) is not None

    def lacks(self, name: str) -> bool:
        """Tell whether ``name`` is known to be absent."""
        return self.snapshot.dists is not UNKNOWN and name not in self.snapshot.dists

    def has_within(self, name: str, specifier: str) -> bool:
        """Tell whether ``name`` is installed in a version inside ``specifier``."""
        return is_within(self.version(name), specifier)

    # --- goal ---

    def wants(self, *goals: Goal) -> bool:
        """Tell whether one of ``goals`` is the user's, or no goal was given."""
        return self.goal is None or self.goal in goals

    def severity(self, *goals: Goal, otherwise: Severity = Severity.INFO) -> Severity:
        """Return ERROR where one of ``goals`` is wanted, else ``otherwise``."""
        return Severity.ERROR if self.wants(*goals) else otherwise

    def severity_of_kernels(self, *goals: Goal, otherwise: Severity = Severity.INFO) -> Severity:
        """Return how bad kernels are that do not load.

        Beside a CPU build of torch, which is reported for itself, they are a consequence; without
        a GPU and without being asked for by name nothing could use them.
        """
        is_consequence = self.has_cpu_torch and bool(self.gpus)
        is_idle = self.goal is None and self.has_no_gpu
        if is_consequence or is_idle:
            return Severity.WARNING if self.wants(*goals) else otherwise
        return self.severity(*goals, otherwise=otherwise)

    # --- torch ---

    @property
    def torch(self) -> TorchBuild | None:
        """The installed torch; ``None`` if absent or unknown."""
        return self.snapshot.torch or None

    @property
    def torch_version(self) -> str | None:
        """The version of torch: the distribution's, which keeps a vendor's local part."""
        of_build = self.torch.version if self.torch else UNKNOWN
        return self.version("torch") or (None if of_build is UNKNOWN else of_build)

    @property
    def has_vendor_torch(self) -> bool:
        """Tell whether torch is a vendor's own build, to which version ranges do not apply.

        NVIDIA's containers and Jetson wheels: ``2.1.0a0+32f93b1``, ``2.5.0a0+….nv24.8``.
        """
        versions = [self.version("torch"), self.torch.version if self.torch else None]
        return any(_is_vendor_version(text) for text in versions if isinstance(text, str))

    @property
    def torch_cuda(self) -> tuple[int, ...] | None:
        """The CUDA version that torch was built with, e.g. (12, 1); ``None`` for none."""
        return number_tuple(self.torch.cuda) if self.torch and self.torch.cuda else None

    @property
    def has_cpu_torch(self) -> bool:
        """Tell whether torch is known to be built without CUDA and ROCm."""
        build = self.torch
        return build is not None and build.cuda is None and not build.hip

    # --- the machine ---

    @property
    def is_externally_managed(self) -> bool:
        """Tell whether a distribution manages the examined Python: pip refuses it (PEP 668)."""
        interpreter = self.snapshot.interpreter
        return interpreter is not UNKNOWN and interpreter.is_externally_managed

    @property
    def gpus(self) -> tuple[GpuFacts, ...]:
        """The NVIDIA GPUs that programs see; empty if there are none or nobody could look."""
        return tuple(
            GpuFacts(
                name=gpu.name or "NVIDIA GPU",
                capability=gpu.compute_capability or facts.capability_by_name(gpu.name or ""),
                vram_bytes=gpu.vram_bytes or None,
            )
            for gpu in visible(self.snapshot.gpus or (), self.snapshot.env_vars)
        )

    @property
    def capabilities(self) -> tuple[Capability, ...]:
        """The known compute capabilities, one a GPU."""
        return tuple(gpu.capability for gpu in self.gpus if gpu.capability)

    @property
    def has_no_gpu(self) -> bool:
        """Tell whether the machine is known to have no NVIDIA GPU that programs see."""
        return self.snapshot.gpus is not UNKNOWN and not self.gpus

    @property
    def has_driven_gpu(self) -> bool:
        """Tell whether ``qtool chat`` reckons with a GPU: also where its driver does not answer.

        See ``qtool.nvidia``.
        """
        is_silent = self.snapshot.gpus is UNKNOWN and bool(self.snapshot.driver_kernel)
        return bool(self.gpus) or is_silent

    @property
    def is_windows(self) -> bool:
        """Tell whether the system is Windows."""
        return self.snapshot.os.system == "Windows"

    @property
    def is_linux_x86(self) -> bool:
        """Tell whether the system is Linux on x86-64, for which most wheels are made."""
        return (self.snapshot.os.system, self.snapshot.os.arch) == ("Linux", "x86_64")

    @property
    def driver(self) -> tuple[int, ...] | None:
        """The driver's version; ``None`` if absent, unknown, or a Jetson's (other numbers)."""
        if self.snapshot.os.is_jetson or not self.snapshot.driver:
            return None
        return number_tuple(self.snapshot.driver)

    def driver_floor(self, cuda_major: int) -> tuple[str, tuple[int, ...]] | None:
        """Return the oldest driver that runs programs of a CUDA major version, if known."""
        is_windows = self.is_windows or self.snapshot.os.is_wsl
        floors = facts.fact("torch", "driver_floor")["Windows" if is_windows else "Linux"]
        text = floors.get(str(cuda_major))
        return (text, number_tuple(text) or ()) if text else None

    def driver_runs(self, cuda_major: int) -> bool | None:
        """Tell whether the driver runs a CUDA major version; ``None`` when that is unknown."""
        floor = self.driver_floor(cuda_major)
        if floor is None or self.driver is None:
            return None
        return self.driver >= floor[1]


def visible(gpus: Sequence[Gpu], env_vars: Mapping[str, str]) -> Sequence[Gpu]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES leaves to programs, in its order.

    Numbers count up to the first that does not exist, as in CUDA's programming guide (appendix on
    environment variables); GPUs named otherwise (``GPU-…``, ``MIG-…``) all count, for nobody here
    knows which those are.
    """
    value = env_vars.get("CUDA_VISIBLE_DEVICES")
    words = [word.strip() for word in (value or "").split(",")]
    if value is None or any(word[:1].isalpha() for word in words):
        return gpus
    numbers = itertools.takewhile(
        lambda word: word.isascii() and word.isdecimal() and int(word[:6]) < len(gpus), words
    )
    return [gpus[int(word)] for word in dict.fromkeys(numbers)]


def make_case(
    snapshot: Snapshot,
    goal: Goal | None = None,
    model: ModelInfo | None = None,
    n_ctx_tokens: int | None = None,
    environments: "Iterable[Environment]" = (),
) -> Case:
    """Fill in what was not said: the model a snapshot describes, its goal, its context length."""
    if model is None and snapshot.model is not None:
        model = describe(snapshot.model, goal)
    if goal is None and model is not None:
        goal = goal_of(model)
    asked = n_ctx_tokens or (snapshot.model.n_ctx_tokens if snapshot.model else None)
    longest = (model.context_length_tokens if model else None) or DEFAULT_CONTEXT_TOKENS
    n_ctx_tokens = asked or min(longest, DEFAULT_CONTEXT_TOKENS)
    return Case(snapshot, goal, model, n_ctx_tokens, bool(asked), environments=tuple(environments))


def _is_vendor_version(text: str) -> bool:
    parsed = parse_version(text)
    if parsed is None:
        return False
    local = parsed.local or ""
    return "nv" in local or (parsed.pre is not None and parsed.pre[0] == "a")


def runs_on(capability: Capability, archs: Iterable[str]) -> bool:
    """Tell whether binaries of ``archs`` hold code for a GPU.

    An ``sm_XY`` binary runs on GPUs of the same major version and an equal or higher minor one;
    ``compute_XY`` (PTX) runs on everything from XY on. Source: CUDA C++ programming guide,
    binary and PTX compatibility.
    """
    for kind, built in filter(None, map(parse_arch, archs)):
        if kind == "compute" and built <= capability:
            return True
        if kind == "sm" and built[0] == capability[0] and built[1] <= capability[1]:
            return True
    return False
