"""What a file or folder is as a model, from its headers and configuration alone."""

import os
from pathlib import Path

from qtool.errors import IntegrityError, NotFoundError, UsageError
from qtool.language.message import say
from qtool.models.checkpoint import inspect_checkpoint
from qtool.models.gguf import MAGIC
from qtool.models.gguf_model import find_variants, inspect_gguf_file, inspect_variant
from qtool.models.info import ModelInfo
from qtool.models.nearby import nearby_hint
from qtool.models.quants import GgufRole, select_quant
from qtool.models.weight_file import REFETCH_HINT, is_file, is_folder, open_weights


def inspect_model(path: Path, *, quant: str | None = None) -> ModelInfo:
    """Inspect a GGUF file (by its content, whatever its name), a safetensors file, or a folder.

    A folder in transformers' layout is that, even with GGUF files in it; otherwise it should
    hold one GGUF model, or ``quant`` says which.

    Raises:
        NotFoundError: there is nothing, or no model in it, or not that ``quant``.
        UsageError: several GGUF models to choose from, or not a model at all.
        IntegrityError: a file is damaged. Shards that are missing are no error here: see
            ``missing_files`` of the result, and `require_complete`.
    """
    if is_folder(path):
        return _inspect_folder(path, quant)
    if not os.path.lexists(path):
        hint = nearby_hint(path)
        if path.suffix.lower() == ".gguf" and len(path.parts) > 2 and not path.is_absolute():
            command = f"qtool download hf://{path.as_posix()}"
            hint = say("if it is a file of a repository: {command}", command=command)
        raise NotFoundError(say("there is no file or folder {path}", path=path), hint=hint)
    with open_weights(path) as file:
        head = file.read(len(MAGIC))
    suffix = path.suffix.lower()
    if head == MAGIC or suffix == ".gguf":
        return inspect_gguf_file(path)
    if suffix == ".safetensors":
        return inspect_checkpoint(path, path.parent, path)
    raise UsageError(
        say("{path} is not a model: neither GGUF nor safetensors", path=path),
        hint=f"ls -l {path.parent}",
    )


def holds_checkpoint(folder: Path) -> bool:
    """Tell whether a folder is in transformers' layout, whatever else is in it."""
    return is_file(folder / "config.json") and any(folder.glob("*.safetensors*"))


def require_complete(info: ModelInfo) -> None:
    """Raise IntegrityError if files of the model are missing, with their names."""
    if info.missing_files:
        names = ", ".join(info.missing_files[:8]) + (" …" if len(info.missing_files) > 8 else "")
        count = len(info.missing_files)
        lack = say("1 file is missing")
        if count > 1:
            lack = say("{n} files are missing", n=count)
        told = say("{path} is incomplete: {lack}: {names}", path=info.path, lack=lack, names=names)
        raise IntegrityError(told, hint=REFETCH_HINT)


def _inspect_folder(folder: Path, quant: str | None) -> ModelInfo:
    variants = find_variants(folder)
    has_models = any(variant.role is GgufRole.MODEL for variant in variants)
    if quant is None and (holds_checkpoint(folder) or not has_models):
        return inspect_checkpoint(folder, folder)
    return inspect_variant(folder, folder, select_quant(variants, quant))
