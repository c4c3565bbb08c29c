"""What a quantised model keeps of the one it was made of: perplexity, the most probable token."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.engines.agreement import compare, logits_of, mean_loss


@dataclass(frozen=True, slots=True)
class Quality:
    """``perplexity`` over all texts, ``expected`` transformers' own with the same checkpoint.

    ``top`` is the share of positions of the first text whose most probable token is that of
    transformers in float32.
    """

    perplexity: float
    expected: float
    top: float


def judge(gguf: Path, packed: Path, kind: str) -> Quality:
    """Judge the GGUF of a checkpoint by what `tests/engines/make_repack_real.py` left in
    ``packed``."""
    texts = json.loads((packed / "ids.json").read_text())
    expected = json.loads((packed / "report.json").read_text())[kind]["perplexity"]
    logits = [logits_of(gguf, ids) for ids in texts]
    losses = [mean_loss(scores, ids) for scores, ids in zip(logits, texts, strict=True)]
    top = compare(logits[0], np.load(packed / f"{kind}.npy")).top
    return Quality(float(np.exp(np.mean(losses))), expected, top)
