"""Whether weights fit this machine, from their size alone."""

import os
from dataclasses import dataclass

from qtool.models.memory import BUFFER_SHARE, CUDA_CONTEXT_BYTES


@dataclass(frozen=True, slots=True)
class MachineMemory:
    """What a new process can have; None is unknown. ``vram_bytes`` is that of all GPUs."""

    ram_bytes: int | None
    vram_bytes: int | None

    @classmethod
    def read(cls) -> "MachineMemory":
        """Ask the system and the GPU's driver, which takes a tenth of a second."""
        from qtool.doctor.probes.gpu import GpuProbe
        from qtool.doctor.snapshot import UNKNOWN
        from qtool.ram import read_ram

        gpus = GpuProbe(os.environ).result().gpus
        free = [] if gpus is UNKNOWN else [gpu.vram_free_bytes or gpu.vram_bytes for gpu in gpus]
        return cls(read_ram().available_bytes, sum(size for size in free if size) or None)

    def fits(self, size_bytes: int | None) -> bool | None:
        """Say whether weights of this size, with buffers, fit the RAM or the GPUs.

        A short conversation is what fits then; `qtool doctor MODEL` knows of longer ones. None
        where either side is unknown.
        """
        if size_bytes is None or (self.ram_bytes is None and self.vram_bytes is None):
            return None
        need_bytes = size_bytes * (1 + BUFFER_SHARE)
        is_in_ram = self.ram_bytes is not None and need_bytes <= self.ram_bytes
        on_gpu_bytes = need_bytes + CUDA_CONTEXT_BYTES
        return is_in_ram or (self.vram_bytes is not None and on_gpu_bytes <= self.vram_bytes)
