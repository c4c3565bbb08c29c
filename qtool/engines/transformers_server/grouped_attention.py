"""Attention that reads keys and values once for all query heads that share them, on a CPU.

Where there is a mask, as for every prompt that goes on after a kept cache, transformers repeats
them for each query head first, because CUDA's kernels would be slower otherwise. torch's kernel
for the CPU takes groups with a mask as well: a prompt of 100 tokens after 4,000 kept ones is read
in half the time (SmolLM2-135M, nine heads in groups of three).
"""

from __future__ import annotations

import torch


def share_keys() -> bool:
    """Have transformers (4.48 and newer) leave keys as they are; tell whether it does now.

    Only for a process whose model computes on the CPU. ``TRANSFORMERS_SDPA_FORCE_GQA`` does the
    same in the newest versions alone.
    """
    try:
        from transformers.integrations import sdpa_attention
    except ImportError:
        return False
    if not hasattr(sdpa_attention, "use_gqa_in_sdpa") or not _has_kernel():
        return False
    sdpa_attention.use_gqa_in_sdpa = lambda *_args, **_kwargs: True
    return True


def _has_kernel() -> bool:
    """Ask torch (2.5 and newer) which kernel it would take."""
    query, key = torch.zeros(1, 4, 8, 64), torch.zeros(1, 2, 12, 64)
    mask = torch.ones(1, 1, 8, 12, dtype=torch.bool)
    try:
        from torch.nn.attention import SDPBackend

        chosen = torch._fused_sdp_choice(query, key, key, attn_mask=mask, enable_gqa=True)
    except (ImportError, AttributeError, TypeError, RuntimeError):
        return False
    return bool(chosen == SDPBackend.FLASH_ATTENTION.value)
