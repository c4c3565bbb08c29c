"""A model in the layout of transformers: a folder with config.json and safetensors files."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qtool.errors import NotFoundError, UsageError
from qtool.language.message import say
from qtool.models.chat_template import has_chat_template, tokenizer_class
from qtool.models.config_json import ConfigFacts, inspect_config
from qtool.models.info import ModelFormat, ModelInfo, Quantization
from qtool.models.json_file import read_json_fields
from qtool.models.parameters import count_parameters
from qtool.models.quantization import parse_quantization
from qtool.models.safetensors import (
    SafetensorsIndex,
    SafetensorsTensor,
    read_safetensors_header,
    read_safetensors_index,
)
from qtool.models.weight_file import is_file, list_names

_PICKLED = re.compile(r"(pytorch_model.*|model.*|gptq_model.*)\.(bin|pt|pth)")
_ADAPTER = "adapter_config.json"
# Files that say how the weights were quantized, and what their mere name implies.
_QUANTIZATION_FILES = {"quantize_config.json": "gptq", "quant_config.json": "awq"}


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """Which files hold the weights; ``index`` is the one that names them, if there is one."""

    files: tuple[Path, ...]
    missing: tuple[str, ...] = ()
    index: SafetensorsIndex | None = None
    warnings: tuple[str, ...] = ()


def inspect_checkpoint(path: Path, folder: Path, file: Path | None = None) -> ModelInfo:
    """Inspect the checkpoint in ``folder``, or only ``file`` of its weights.

    Raises:
        NotFoundError: there are no weights in it.
        UsageError: it holds an adapter, not a model.
        IntegrityError: a file is damaged; missing shards are reported in the result instead.
    """
    weights = WeightFiles((file,)) if file else find_weights(folder)
    headers = {
        shard: read_safetensors_header(shard).tensors
        for shard in weights.files
        if shard.suffix.lower() == ".safetensors"
    }
    tensors = [tensor for shard in headers.values() for tensor in shard]
    facts, config_warnings = _read_config(folder)
    model_format, quantization, quantization_warnings = _quantization(folder, facts, tensors)
    is_counted = len(headers) == len(weights.files) and not weights.missing
    bits = int(quantization.bits) if quantization and quantization.bits else None
    return ModelInfo(
        path=path,
        format=model_format,
        quantization=quantization,
        architecture=facts.architecture if facts else None,
        n_params=count_parameters(tensors, bits) if is_counted else None,
        weights_bytes=_weights_bytes(weights, headers),
        context_length_tokens=facts.context_length_tokens if facts else None,
        has_chat_template=has_chat_template(folder),
        attention=facts.attention if facts else None,
        tokenizer_class=tokenizer_class(folder),
        dtype=facts.dtype if facts else None,
        files=weights.files,
        missing_files=weights.missing,
        warnings=(
            *weights.warnings,
            *_index_warnings(weights, tensors),
            *config_warnings,
            *quantization_warnings,
        ),
    )


def find_weights(folder: Path) -> WeightFiles:
    """Find the weights in the order in which transformers looks for them.

    One ``model.safetensors``, an index and its shards, other safetensors (those of AutoGPTQ have
    names of their own; ``consolidated`` ones are a second copy), pickled PyTorch files.
    """
    if is_file(folder / "model.safetensors"):
        return WeightFiles((folder / "model.safetensors",))
    index_path = folder / "model.safetensors.index.json"
    if is_file(index_path):
        return _indexed(folder, read_safetensors_index(index_path))
    names = sorted(name for name in list_names(folder) if is_file(folder / name))
    found = [name for name in names if name.lower().endswith(".safetensors")]
    weights = [name for name in found if not name.startswith(("adapter_", "consolidated"))]
    if weights := weights or [name for name in found if name.startswith("consolidated")]:
        return WeightFiles(tuple(folder / name for name in weights))
    if _ADAPTER in names:
        base = read_json_fields(folder / _ADAPTER).text("base_model_name_or_path")
        raise UsageError(
            f"{folder} holds an adapter (LoRA), not a model",
            hint=f"qtool chat {base}" if base else None,
        )
    if pickled := [name for name in names if _PICKLED.fullmatch(name)]:
        warning = "the weights are pickled PyTorch files, which run code when they are loaded"
        return WeightFiles(tuple(folder / name for name in pickled), warnings=(warning,))
    raise NotFoundError(
        say("{folder} holds no model: neither .gguf nor .safetensors files", folder=folder),
        hint=f"ls {folder}",
    )


def _indexed(folder: Path, index: SafetensorsIndex) -> WeightFiles:
    present = tuple(folder / name for name in index.shards if is_file(folder / name))
    missing = tuple(name for name in index.shards if not is_file(folder / name))
    warnings: tuple[str, ...] = ()
    if missing:
        names = ", ".join(missing[:4]) + (" …" if len(missing) > 4 else "")
        warnings = (f"{len(missing)} of {len(index.shards)} shards are missing: {names}",)
    return WeightFiles(present, missing, index, warnings)


def _weights_bytes(
    weights: WeightFiles, headers: Mapping[Path, Sequence[SafetensorsTensor]]
) -> int:
    if weights.missing and weights.index and weights.index.total_size_bytes:
        return weights.index.total_size_bytes
    in_headers = sum(tensor.n_bytes for shard in headers.values() for tensor in shard)
    return in_headers + sum(file.stat().st_size for file in weights.files if file not in headers)


def _index_warnings(weights: WeightFiles, tensors: Iterable[SafetensorsTensor]) -> list[str]:
    """Tensors that the index promises, of shards that are there but do not have them."""
    if weights.index is None or weights.missing:
        return []
    absent = weights.index.weight_map.keys() - {tensor.name for tensor in tensors}
    if not absent:
        return []
    return [f"{len(absent)} tensors of the index are in no shard, such as {min(absent)!r}"]


def _read_config(folder: Path) -> tuple[ConfigFacts | None, list[str]]:
    path = folder / "config.json"
    if not os.path.lexists(path):
        return None, ["there is no config.json: the architecture is not known"]
    fields = read_json_fields(path)
    return inspect_config(fields.data, source=fields.source), []


def _quantization(
    folder: Path, facts: ConfigFacts | None, tensors: Sequence[SafetensorsTensor]
) -> tuple[ModelFormat, Quantization | None, list[str]]:
    """How the weights are quantized: config.json decides, then the older files, then the names."""
    stated = _quantization_file(folder)
    if facts and facts.quantization:
        warnings = []
        if stated and (difference := _difference(facts.quantization, stated[1])):
            warnings = [f"{stated[1].source} contradicts config.json ({difference})"]
        return facts.format, facts.quantization, warnings
    if stated:
        return *stated, []
    names = {tensor.name.rpartition(".")[2] for tensor in tensors}
    if "qweight" not in names:
        return ModelFormat.PLAIN, None, []
    guess = ModelFormat.GPTQ if "g_idx" in names else ModelFormat.AWQ
    warning = f"the weights are packed, but no file says how; taken for {guess.value} with 4 bits"
    return guess, Quantization(guess.value, "names of tensors"), [warning]


def _quantization_file(folder: Path) -> tuple[ModelFormat, Quantization] | None:
    for name, method in _QUANTIZATION_FILES.items():
        if os.path.lexists(folder / name):
            return parse_quantization(read_json_fields(folder / name), default_method=method)
    return None


def _difference(first: Quantization, second: Quantization) -> str | None:
    """What two descriptions of one checkpoint disagree about."""
    for field in ("method", "bits", "group_size", "is_symmetric", "is_act_order"):
        one, other = getattr(first, field), getattr(second, field)
        if one is not None and other is not None and one != other:
            return f"{field}: {one} there, {other} here"
    return None
