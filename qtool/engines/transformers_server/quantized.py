"""GPTQ and AWQ: which package of the environment loads them, and what it must be told."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from .settings import Settings

if TYPE_CHECKING:
    from .placement import Placement

LOADERS = {"gptq": ("gptqmodel", "auto_gptq"), "awq": ("gptqmodel", "awq")}
"""Packages by preference. transformers chooses among those present; this says what to tell it."""


FLOAT16_ONLY = {"auto_gptq", "awq"}
"""Packages whose kernels for a GPU compute in float16 and nothing else."""


class MissingPackage(Exception):
    """No package in this environment loads such a model."""


def describe_method(config: Mapping[str, Any]) -> str:
    """Return the name of the stage of loading: ``gptq weights``, or ``weights``."""
    method = _quantization(config).get("quant_method")
    return f"{method} weights" if method else "weights"


def find_packed(folder: str, config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return how the weights are packed, as GPTQ or AWQ; nothing for any other model."""
    own = _quantization(config) or _old_gptq(folder)
    return own if own.get("quant_method") in LOADERS else {}


def quantization_arguments(
    settings: Settings, config: Mapping[str, Any], placement: Placement
) -> dict[str, Any]:
    """Return what ``from_pretrained`` needs beyond what the checkpoint itself says.

    Raises:
        MissingPackage: nothing here loads this method, or not on this device.
    """
    own = find_packed(settings.model, config)
    method = str(own.get("quant_method", ""))
    if not own:
        return {}
    package = _package(method)
    if package is None:
        raise MissingPackage(f"{method} needs one of the packages {', '.join(LOADERS[method])}")
    if method == "gptq":
        return _gptq(own, package, placement, is_in_config=bool(_quantization(config)))
    return _awq(settings, package, placement)


def needs_float16(config: Mapping[str, Any]) -> bool:
    """Tell whether on a GPU the package that loads the weights computes in float16 alone."""
    return _package(str(_quantization(config).get("quant_method", ""))) in FLOAT16_ONLY


def _package(method: str) -> str | None:
    return next((name for name in LOADERS.get(method, ()) if find_spec(name)), None)


def _gptq(
    own: Mapping[str, Any], package: str, placement: Placement, *, is_in_config: bool
) -> dict[str, Any]:
    """auto-gptq wants its exllama kernels on a CPU, too, where they ask for a device's index."""
    needs_no_exllama = package == "auto_gptq" and placement.is_cpu
    if is_in_config and not needs_no_exllama:
        return {}
    from transformers import GPTQConfig

    names = ("bits", "group_size", "damp_percent", "desc_act", "sym", "checkpoint_format", "meta")
    known = {name: own[name] for name in names if own.get(name) is not None}
    if package == "auto_gptq":
        known = {name: value for name, value in known.items() if name not in names[-2:]}
    return {"quantization_config": GPTQConfig(**known, use_exllama=not placement.is_cpu)}


def _awq(settings: Settings, package: str, placement: Placement) -> dict[str, Any]:
    """Fused layers keep a KV cache inside, which cannot be cut: only when asked, where they run."""
    if package == "awq" and placement.is_cpu:
        raise MissingPackage("autoawq computes on a GPU only; gptqmodel loads AWQ on a CPU")
    can_fuse = package == "awq" and find_spec("awq_ext") and find_spec("flash_attn")
    if not (settings.fuse_layers and can_fuse):
        return {}
    from transformers import AwqConfig

    length = settings.n_ctx_tokens or 4096
    return {"quantization_config": AwqConfig(do_fuse=True, fuse_max_seq_len=length)}


def _quantization(config: Mapping[str, Any]) -> Mapping[str, Any]:
    found = config.get("quantization_config")
    return found if isinstance(found, Mapping) else {}


def _old_gptq(folder: str) -> Mapping[str, Any]:
    """Return AutoGPTQ's own file, where ``config.json`` says nothing of quantisation."""
    path = os.path.join(folder, "quantize_config.json")  # noqa: PTH118
    if not os.path.isfile(path):  # noqa: PTH113
        return {}
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        own = json.load(file)
    return {**own, "quant_method": own.get("quant_method", "gptq")} if isinstance(own, dict) else {}
