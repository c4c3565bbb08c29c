"""Where a model computes, in which float type, and by which attention."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch

from .settings import Settings

FLASH_MIN_CAPABILITY = (8, 0)
"""flash-attn 2 is for Ampere and newer: https://github.com/Dao-AILab/flash-attention."""

BFLOAT16_MIN_CAPABILITY = (8, 0)


@dataclass(frozen=True)
class Placement:
    """``attentions`` are to be tried in this order."""

    device: str
    dtype: Any
    attentions: tuple[str, ...]

    @property
    def is_cpu(self) -> bool:
        """Tell whether it is the processor that computes."""
        return self.device == "cpu"


def place(
    settings: Settings, checkpoint_dtype: str | None, *, is_packed: bool = False
) -> Placement:
    """Decide; what the settings say goes before what the machine suggests.

    ``is_packed``: the weights are GPTQ's or AWQ's.
    """
    device = settings.device if settings.device != "auto" else _best_device(is_packed=is_packed)
    capability = torch.cuda.get_device_capability() if device.startswith("cuda") else None
    if settings.dtype != "auto":
        dtype = getattr(torch, settings.dtype)
    else:
        dtype = _best_dtype(device, capability, checkpoint_dtype)
    if settings.attention != "auto":
        return Placement(device, dtype, (settings.attention,))
    has_flash = capability is not None and capability >= FLASH_MIN_CAPABILITY
    is_half = dtype in (torch.float16, torch.bfloat16)
    flash = ("flash_attention_2",) if has_flash and is_half and find_spec("flash_attn") else ()
    return Placement(device, dtype, (*flash, "sdpa", "eager"))


def _best_device(*, is_packed: bool) -> str:
    if torch.cuda.is_available():
        return "cuda"
    if is_packed:  # an Apple GPU has no kernels for them
        return "cpu"
    mps = getattr(torch.backends, "mps", None)
    return "mps" if mps is not None and mps.is_available() else "cpu"


def _best_dtype(
    device: str, capability: tuple[int, int] | None, checkpoint_dtype: str | None
) -> Any:
    """bfloat16 where the hardware has it (and the checkpoint is not float16), else float16 on a
    GPU; a processor without it computes in float32, for it would emulate."""
    if capability is not None:
        has_bfloat16 = capability >= BFLOAT16_MIN_CAPABILITY and checkpoint_dtype != "float16"
        return torch.bfloat16 if has_bfloat16 else torch.float16
    if device == "mps":
        return torch.float16
    if checkpoint_dtype == "float32":
        return torch.float32
    return torch.bfloat16 if _cpu_has_bfloat16() else torch.float32


def _cpu_has_bfloat16() -> bool:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
            flags = file.read(20_000)
    except OSError:
        return False
    return any(f" {flag}" in flags for flag in ("avx512_bf16", "amx_bf16", "bf16 "))
