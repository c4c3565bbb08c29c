"""Telling checkpoints apart by their content, without reading it twice."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from qtool.models.weight_file import open_weights

FORMAT = 1
"""Counted up when the same checkpoint becomes another GGUF than before."""

READ_BYTES = 4 * 2**20
CONFIGURATION = (
    *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"),
    *("chat_template.jinja", "chat_template.json", "quantize_config.json", "quant_config.json"),
)
"""What a GGUF is made of besides the weights."""


def files_of(folder: Path, weights: Iterable[Path]) -> tuple[Path, ...]:
    """Return all files that decide what the GGUF will be."""
    present = (folder / name for name in CONFIGURATION)
    return (*(path for path in present if path.is_file()), *weights)


def stamp(files: Iterable[Path]) -> str:
    """Return what changes when a file is replaced or written to: a glance, not a proof.

    Size, time of change and number of each file; the last tells apart what was copied with its
    time preserved.
    """
    facts = []
    for file in files:
        status = file.stat()
        facts.append((file.name, status.st_size, status.st_mtime_ns, status.st_ino))
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def digest(files: Iterable[Path], options: Mapping[str, object]) -> str:
    """Return the SHA-256 over names and content of ``files``, ``options`` and ``FORMAT``."""
    whole = hashlib.sha256(json.dumps([FORMAT, dict(options)], sort_keys=True).encode())
    for file in files:
        content = hashlib.sha256()
        with open_weights(file) as source:
            while block := source.read(READ_BYTES):
                content.update(block)
        whole.update(json.dumps([file.name, content.hexdigest()]).encode())
    return whole.hexdigest()
