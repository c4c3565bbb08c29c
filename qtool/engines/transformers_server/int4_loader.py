"""Loading a GPTQ or AWQ checkpoint for a processor with nothing but torch and transformers.

The model is built without its parameters; quantised layers become ``Int4Linear``, those of a shape
or width that its kernel does not have are written out, and everything else is read as it is.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from .int4_linear import Int4Linear, find_group_size, has_kernel
from .packed_matrix import NotPackable, Packing, read_packing, unpack_matrix

if TYPE_CHECKING:
    from .settings import Settings

Report = Callable[[float], None]

PARTS = ("qweight", "qzeros", "scales", "g_idx")
LEFT_OUT = (".rotary_emb.inv_freq", ".masked_bias")
"""Buffers that old versions of transformers saved, and compute anew."""


class NotCovered(Exception):
    """Another package has to load this model; the message says why."""


def load_int4(
    settings: Settings,
    quantization: Mapping[str, Any],
    dtype: Any,
    attention: str,
    names: Mapping[str, Any],
    report: Report,
) -> Any:
    """Return the model, which computes in ``dtype`` what is not quantised.

    ``names`` is what this transformers is told of the configuration; ``report`` gets the fraction
    that is done.

    Raises:
        NotCovered: it is packed, or put together, in a way that is not known here.
        ValueError, ImportError: it does not have this ``attention``.
    """
    if not has_kernel():
        raise NotCovered(f"torch {torch.__version__} has no kernel for 4 bits on a processor")
    try:
        packing = read_packing(quantization)
        tensors = _Tensors(Path(settings.model))
        model = _build(settings, dtype, attention, names)
        _fill(model, tensors, packing, dtype, report)
    except NotPackable as exc:
        raise NotCovered(str(exc)) from exc
    model.tie_weights()
    missing = [name for name, tensor in model.named_parameters() if tensor.is_meta]
    if missing:
        raise NotCovered(f"the checkpoint has no {missing[0]}")
    return model


class _Tensors:
    """The tensors of a folder's safetensors, read when they are asked for."""

    def __init__(self, folder: Path) -> None:
        from safetensors import safe_open

        self._file_of: dict[str, Any] = {}
        for path in _weight_files(folder):
            file: Any = safe_open(str(path), framework="pt")
            self._file_of.update(dict.fromkeys(file.keys(), file))

    def __iter__(self) -> Iterator[str]:
        return iter(self._file_of)

    def __contains__(self, name: str) -> bool:
        return name in self._file_of

    def __getitem__(self, name: str) -> Any:
        return self._file_of[name].get_tensor(name)


def _weight_files(folder: Path) -> Sequence[Path]:
    """Return the files, those of the index if there is one."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return [folder / name for name in sorted(set(names))]
    whole = folder / "model.safetensors"
    found = [whole] if whole.is_file() else sorted(folder.glob("*.safetensors"))
    if not found:
        raise NotCovered("its weights are not safetensors")
    return found


def _build(settings: Settings, dtype: Any, attention: str, names: Mapping[str, Any]) -> Any:
    """Build the model of the configuration, its parameters without memory."""
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    own = {"trust_remote_code": settings.trust_remote_code, "local_files_only": True}
    config = AutoConfig.from_pretrained(settings.model, **own, **names)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with _parameters_on_meta(dtype):
        model = AutoModelForCausalLM.from_config(
            config, trust_remote_code=settings.trust_remote_code, attn_implementation=attention
        )
    with contextlib.suppress(OSError):  # there is none
        model.generation_config = GenerationConfig.from_pretrained(
            settings.model, local_files_only=True
        )
    return model


@contextlib.contextmanager
def _parameters_on_meta(dtype: Any) -> Iterator[None]:
    """Give parameters made meanwhile no memory; buffers are computed, and no file has them."""
    register = torch.nn.Module.register_parameter

    def on_meta(module: Any, name: str, parameter: Any) -> None:
        if parameter is not None and not parameter.is_meta:
            parameter = torch.nn.Parameter(parameter.to("meta"), requires_grad=False)
        register(module, name, parameter)

    before = torch.get_default_dtype()
    torch.nn.Module.register_parameter = on_meta
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
        torch.nn.Module.register_parameter = register


def _fill(model: Any, tensors: _Tensors, packing: Packing, dtype: Any, report: Report) -> None:
    """Read every tensor of the checkpoint to where it belongs."""
    names = [name for name in tensors if not name.endswith(LEFT_OUT)]
    quantised = {n.rpartition(".")[0] for n in names if n.endswith(".qweight")}
    for n_done, name in enumerate(names, 1):
        stem, _, part = name.rpartition(".")
        if stem not in quantised:
            _set_tensor(model, stem, part, tensors[name], dtype)
        elif part == "qweight":
            _replace(model, stem, _read_layer(tensors, stem, packing, dtype))
        report(n_done / len(names))


def _read_layer(tensors: _Tensors, stem: str, packing: Packing, dtype: Any) -> Any:
    """Return the layer that computes with one quantised matrix."""
    parts = {part: tensors[f"{stem}.{part}"] for part in PARTS if f"{stem}.{part}" in tensors}
    if "qzeros" not in parts or "scales" not in parts:
        raise NotCovered(f"the checkpoint has no zero points or no scales of {stem}")
    bias = tensors[f"{stem}.bias"].to(dtype) if f"{stem}.bias" in tensors else None
    matrix = unpack_matrix(parts, packing)
    group_size = find_group_size(matrix)
    if group_size is not None:
        return Int4Linear(matrix, group_size, bias)
    linear = torch.nn.Linear(1, 1, bias=False, device="meta")
    linear.weight = torch.nn.Parameter(matrix.values(dtype), requires_grad=False)
    linear.bias = None if bias is None else torch.nn.Parameter(bias, requires_grad=False)
    linear.out_features, linear.in_features = linear.weight.shape
    return linear


def _replace(model: Any, stem: str, layer: Any) -> None:
    parent, _, name = stem.rpartition(".")
    module = _find(model, parent)
    if not isinstance(getattr(module, name, None), torch.nn.Linear):
        raise NotCovered(f"its {stem} is no linear layer")
    setattr(module, name, layer)


def _set_tensor(model: Any, stem: str, part: str, tensor: Any, dtype: Any) -> None:
    module = _find(model, stem)
    value = tensor.to(dtype) if tensor.is_floating_point() else tensor
    if part in module._parameters:
        if module._parameters[part].shape != value.shape:
            raise NotCovered(f"{stem}.{part} has the shape {tuple(value.shape)}")
        module._parameters[part] = torch.nn.Parameter(value, requires_grad=False)
    elif part in module._buffers:
        module._buffers[part] = value
    else:
        raise NotCovered(f"the model has no {stem}.{part}")


def _find(model: Any, stem: str) -> Any:
    try:
        return model.get_submodule(stem)
    except AttributeError as exc:
        raise NotCovered(f"the model has no {stem}") from exc
