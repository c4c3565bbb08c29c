"""What a recipe's conditions are held against."""

from dataclasses import dataclass

Capability = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Machine:
    """The system as ``platform`` names it, and what its GPUs and driver can do.

    ``capabilities``: one (major, minor) a GPU, empty for none. ``has_unknown_gpu``: there is a GPU
    whose capability nobody could tell. ``highest_cuda_major``: what the driver runs; ``None`` is
    unknown and rules nothing out.
    """

    system: str
    arch: str
    capabilities: tuple[Capability, ...] = ()
    has_unknown_gpu: bool = False
    highest_cuda_major: int | None = None
    is_jetson: bool = False

    @property
    def has_gpu(self) -> bool:
        """Tell whether there is an NVIDIA GPU."""
        return bool(self.capabilities) or self.has_unknown_gpu
