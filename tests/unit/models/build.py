"""Making model files byte by byte, so that tests can also make broken ones."""

import json
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

UINT32, FLOAT32, BOOL, STRING, ARRAY, UINT64 = 4, 6, 7, 8, 9, 10
F32, F16, Q4_0 = 0, 1, 2


def text(value: str | bytes, order: str = "<") -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack(f"{order}Q", len(data)) + data


def value(item: object, order: str = "<") -> bytes:
    """A metadata value with its type; a list of strings or numbers becomes an array."""
    match item:
        case bytes():  # as it is, type included
            return item
        case bool():
            return struct.pack(f"{order}IB", BOOL, item)
        case int():
            return struct.pack(f"{order}II", UINT32, item)
        case float():
            return struct.pack(f"{order}If", FLOAT32, item)
        case str():
            return struct.pack(f"{order}I", STRING) + text(item, order)
        case list() if item and isinstance(item[0], str):
            head = struct.pack(f"{order}IIQ", ARRAY, STRING, len(item))
            return head + b"".join(text(each, order) for each in item)
        case list():
            return struct.pack(f"{order}IIQ{len(item)}I", ARRAY, UINT32, len(item), *item)
    raise TypeError(item)


def tensor(
    name: str | bytes, shape: Iterable[int], kind: int = F32, offset: int = 0, order: str = "<"
) -> bytes:
    shape = list(shape)
    return text(name, order) + struct.pack(
        f"{order}I{len(shape)}QIQ", len(shape), *shape, kind, offset
    )


def gguf(
    metadata: Mapping[str, object] | Iterable[tuple[str, object]] = (),
    tensors: Iterable[bytes] = (),
    *,
    n_data_bytes: int = 0,
    order: str = "<",
    version: int = 3,
    n_tensors: int | None = None,
    n_metadata: int | None = None,
    alignment: int = 32,
) -> bytes:
    """A GGUF file; the counts can be made to lie."""
    pairs = list(metadata.items() if isinstance(metadata, Mapping) else metadata)
    tensors = list(tensors)
    head = b"GGUF" + struct.pack(
        f"{order}IQQ",
        version,
        len(tensors) if n_tensors is None else n_tensors,
        len(pairs) if n_metadata is None else n_metadata,
    )
    body = head + b"".join(text(key, order) + value(item, order) for key, item in pairs)
    body += b"".join(tensors)
    return body + bytes(-len(body) % alignment) + bytes(n_data_bytes) if tensors else body


LLAMA: dict[str, object] = {
    "general.architecture": "llama",
    "general.file_type": 2,
    "llama.block_count": 2,
    "llama.context_length": 4096,
    "llama.embedding_length": 64,
    "llama.attention.head_count": 4,
    "llama.attention.head_count_kv": 2,
    "tokenizer.ggml.tokens": ["a", "b", "c"],
}


def llama_gguf(**extra: object) -> bytes:
    """A small, valid model: 64*3 weights in Q4_0 (108 bytes) and 64 in F32."""
    tensors = [tensor("token_embd.weight", [64, 3], Q4_0), tensor("output_norm", [64], F32, 128)]
    return gguf({**LLAMA, **extra}, tensors, n_data_bytes=128 + 256)


def safetensors(header: Mapping[str, Any] | bytes, n_data_bytes: int = 0) -> bytes:
    data = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(data)) + data + bytes(n_data_bytes)


ELEMENT_BYTES = {"I32": 4, "F32": 4, "F16": 2, "BF16": 2, "U8": 1, "I8": 1, "F8_E4M3": 1, "I64": 8}


def safetensors_of(tensors: Mapping[str, tuple[str, list[int]]]) -> bytes:
    """A valid file of zeros with these tensors: name -> (dtype, shape)."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (dtype, shape) in tensors.items():
        n_bytes = ELEMENT_BYTES[dtype]
        for dimension in shape:
            n_bytes *= dimension
        span = [offset, offset + n_bytes]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": span}
        offset += n_bytes
    return safetensors(header, offset)


def write_checkpoint(
    folder: Path,
    *,
    config: Mapping[str, Any] | None = None,
    tensors: Mapping[str, tuple[str, list[int]]] | None = None,
    **files: object,
) -> Path:
    """A folder as transformers has it; ``files`` are JSON by name, with ``_`` for the dot."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config or {}))
    (folder / "model.safetensors").write_bytes(
        safetensors_of(tensors or {"weight": ("F16", [2, 2])})
    )
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(json.dumps(content))
    return folder
