"""A model in GGUF: one file, or the parts of a split one."""

from pathlib import Path

from qtool.errors import IntegrityError
from qtool.models.gguf import read_gguf_header
from qtool.models.gguf_header import GgufHeader, check_parts
from qtool.models.gguf_info import (
    gguf_architecture,
    gguf_attention,
    gguf_chat_template,
    gguf_context_length,
    gguf_quantization,
)
from qtool.models.info import ModelFormat, ModelInfo
from qtool.models.quants import GgufRole, GgufVariant, group_gguf, role_of, split_of
from qtool.models.weight_file import REFETCH_HINT


def find_variants(folder: Path) -> list[GgufVariant]:
    """The GGUF files of a folder and of the folders in it, grouped; names are relative to it."""
    found = [*folder.glob("*.gguf"), *folder.glob("*/*.gguf")]
    return group_gguf(path.relative_to(folder).as_posix() for path in found)


def inspect_gguf_file(path: Path) -> ModelInfo:
    """Inspect a GGUF file; of a split model any part, and the others are looked for beside it.

    Raises:
        IntegrityError: a part is damaged or truncated, or the first one is missing.
    """
    if split_of(path.name) is None:
        variant = GgufVariant(None, (path.name,), role=role_of(path.name))
    else:
        variants = group_gguf([path.name, *(file.name for file in path.parent.glob("*.gguf"))])
        variant = next(variant for variant in variants if path.name in variant.files)
    return inspect_variant(path, path.parent, variant)


def inspect_variant(path: Path, folder: Path, variant: GgufVariant) -> ModelInfo:
    """Inspect the files of ``variant``, which lie in ``folder``; ``path`` is what the user said."""
    first = split_of(variant.files[0])
    if first is not None and first.part != 1:
        raise IntegrityError(
            f"{folder / variant.missing[0]} is missing: only the first part describes the model",
            hint=REFETCH_HINT,
        )
    files = tuple(folder / name for name in variant.files)
    headers = [read_gguf_header(file) for file in files]
    if len(files) > 1 and variant.is_complete:
        check_parts(zip(map(str, files), headers, strict=True))
    return _model_info(path, files, headers, variant)


def _model_info(
    path: Path, files: tuple[Path, ...], headers: list[GgufHeader], variant: GgufVariant
) -> ModelInfo:
    name, header = str(files[0]), headers[0]
    n_params = sum(part.n_params for part in headers)
    return ModelInfo(
        path=path,
        format=ModelFormat.GGUF,
        quantization=gguf_quantization(headers, name),
        architecture=gguf_architecture(header, name),
        n_params=n_params if variant.is_complete else None,
        weights_bytes=sum(part.tensor_bytes for part in headers),
        context_length_tokens=gguf_context_length(header, name),
        has_chat_template=gguf_chat_template(header, name) is not None,
        attention=gguf_attention(header, name),
        files=files,
        missing_files=variant.missing,
        warnings=tuple(_warnings(variant)),
    )


def _warnings(variant: GgufVariant) -> list[str]:
    warnings = []
    if variant.missing:
        n_parts = len(variant.files) + len(variant.missing)
        warnings.append(f"{len(variant.missing)} of {n_parts} parts are missing")
    match variant.role:
        case GgufRole.MMPROJ:
            warnings.append("this is the vision encoder of a model, not a model to chat with")
        case GgufRole.IMATRIX:
            warnings.append("this is an importance matrix, not a model")
        case GgufRole.MODEL:
            pass
    return warnings
