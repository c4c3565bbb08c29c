"""Memory of the device that computes: how much is free, and what to say when it was not enough."""

from __future__ import annotations

import gc
import os
import re
from typing import Any

import torch

from .refusal import OUT_OF_MEMORY, Refusal

MIB = 2**20
CACHE_SHARE = 0.5
"""How much of the memory that is free after loading the kept conversations may take."""


def free_bytes(device: Any) -> int | None:
    """Return what can still be allocated on ``device``; ``None`` where that is unknown."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return _available_ram()


def cache_budget(device: Any, wanted_bytes: int | None) -> int:
    """Return how much the kept conversations may take together."""
    if wanted_bytes is not None:
        return wanted_bytes
    return int((free_bytes(device) or 4096 * MIB) * CACHE_SHARE)


def is_out_of_memory(exc: BaseException) -> bool:
    """Tell whether an error of torch means that memory is short; on a CPU it has no class."""
    if isinstance(exc, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return bool(re.search(r"out of memory|can't allocate|not enough memory", str(exc), re.I))


def explain_out_of_memory(exc: BaseException, device: Any, kept_bytes: int) -> Refusal:
    """Return the refusal with the figures: what was asked for, what was kept, what is free now."""
    asked = re.search(r"(?:allocate|allocating)\s+([\d.]+ ?\w+)", str(exc))
    wanted = f"; {asked[1]} more were asked for" if asked else ""
    free = free_bytes(device)
    now = "" if free is None else f", {free // MIB} MiB are free now that they are dropped"
    return Refusal(
        503,
        OUT_OF_MEMORY,
        f"out of memory on {device}{wanted}; kept conversations took {kept_bytes // MIB} MiB{now}",
        free_bytes=free,
        kept_bytes=kept_bytes,
    )


def release_memory() -> None:
    """Give back what is not used any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _available_ram() -> int | None:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123 - no pathlib needed
            found = re.search(r"^MemAvailable:\s+(\d+) kB", file.read(), re.M)
            return int(found[1]) * 1024 if found else None
    except OSError:
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
