"""How near llama.cpp's logits come to others of the same tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

from tests.engines.llama_library import LlamaModel


@dataclass(frozen=True, slots=True)
class Agreement:
    """``top`` is the share of positions with the same most probable token, ``divergence`` the mean
    Kullback-Leibler divergence from what is expected to what is there."""

    top: float
    divergence: float


def compare(ours: np.ndarray, expected: np.ndarray) -> Agreement:
    """Compare logits (n, vocabulary) with those that are expected."""
    assert ours.shape == expected.shape
    divergences = []
    for rows in _chunks(len(ours)):
        one, other = log_probabilities(ours[rows]), log_probabilities(expected[rows])
        divergences.append((np.exp(other) * (other - one)).sum(-1))
    same = ours.argmax(-1) == expected.argmax(-1)
    return Agreement(float(same.mean()), float(np.concatenate(divergences).mean()))


def mean_loss(logits: np.ndarray, ids: Sequence[int]) -> float:
    """Return the mean negative logarithm of the probability of each of ``ids`` but the first."""
    losses = []
    for rows in _chunks(len(ids) - 1):
        scores = log_probabilities(logits[rows])
        losses.append(-scores[np.arange(len(scores)), ids[rows.start + 1 : rows.stop + 1]])
    return float(np.concatenate(losses).mean())


def logits_of(path: Path, ids: Sequence[int]) -> np.ndarray:
    """Return llama.cpp's logits after each of ``ids`` (n, vocabulary)."""
    model = LlamaModel(path)
    try:
        return model.logits(ids)
    finally:
        model.close()


def log_probabilities(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def _chunks(n_rows: int) -> Iterator[slice]:
    """So many rows at once that a large vocabulary does not fill the memory."""
    return (slice(start, min(start + 64, n_rows)) for start in range(0, n_rows, 64))


def write_out(source: Path, target: Path) -> Path:
    """Copy a GGUF with all its tensors in F32."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for field in reader.fields.values():
        if not field.name.startswith(("GGUF.", "general.architecture")):
            sub_type = field.types[1] if len(field.types) > 1 else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub_type)
    for tensor in reader.tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, values.reshape([int(n) for n in tensor.shape][::-1]))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target
