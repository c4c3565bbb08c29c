"""The real starter model, packed as GPTQ and AWQ, repacked: perplexity, logits."""

import json
from pathlib import Path

import numpy as np
import pytest

from qtool.engines.interpreters import EnginePython
from qtool.engines.repack.plan import plan_repack
from qtool.engines.repack.write import write_gguf
from qtool.models.formats import inspect_model
from tests.conftest import TEST_CACHE
from tests.engines.agreement import compare, logits_of, mean_loss, write_out
from tests.engines.conftest import run_beside
from tests.once import make_once

pytestmark = [
    *(pytest.mark.model, pytest.mark.network, pytest.mark.slow, pytest.mark.timeout(900)),
]
KINDS = (
    "awq-64",
    *(pytest.param(kind, marks=pytest.mark.environments) for kind in ("gptq-32", "gptq-64")),
)
"""AWQ is the one that llama.cpp's kernels come least near to; the others are for being sure."""
N_EXACT = 128
"""Tokens of the first text: in F32 every one costs seven times as much."""


@pytest.fixture(scope="session")
def packed(engine_python: EnginePython, real_models: Path) -> Path:
    """Return the folder of what ``make_repack_real`` makes."""
    arguments = ("make_repack_real.py",)
    return make_once(
        TEST_CACHE / "repack-real",
        lambda folder: run_beside(
            engine_python, *arguments, str(folder), str(real_models / "smollm")
        ),
    )


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def repacked(packed: Path, kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the GGUF of one kind."""
    target = tmp_path_factory.mktemp(kind) / "smollm.gguf"
    write_gguf(plan_repack(inspect_model(packed / kind)), target)
    return target


@pytest.fixture(scope="module")
def texts(packed: Path) -> list[list[int]]:
    return json.loads((packed / "ids.json").read_text())


@pytest.fixture(scope="module")
def logits(repacked: Path, texts: list[list[int]]) -> list[np.ndarray]:
    """Return what llama.cpp makes of each text, through its kernels for quantised weights."""
    return [logits_of(repacked, ids) for ids in texts]


def test_perplexity_is_that_of_transformers(
    packed: Path, logits: list[np.ndarray], texts: list[list[int]], kind: str
) -> None:
    """Over 1536 tokens: rounded activations move it by half a percent up or down in each 512."""
    expected = json.loads((packed / "report.json").read_text())[kind]["perplexity"]
    losses = [mean_loss(scores, ids) for scores, ids in zip(logits, texts, strict=True)]
    assert np.exp(np.mean(losses)) == pytest.approx(expected, rel=0.005)


def test_logits_come_as_near_as_bfloat16(packed: Path, logits: list[np.ndarray], kind: str) -> None:
    """llama.cpp rounds activations to 8 bits. That is no farther from float32 than transformers is
    in bfloat16, which has the same top token in 96 to 98 % of the positions, not 99."""
    native = compare(logits[0], np.load(packed / f"{kind}.npy"))
    bfloat16 = json.loads((packed / "report.json").read_text())[kind]
    assert native.top >= bfloat16["top"] - 0.01
    assert native.divergence < 2 * bfloat16["divergence"]


@pytest.mark.parametrize("kind", ["awq-64"], indirect=True)  # the tiny models have the others
def test_logits_are_those_of_transformers_where_nothing_is_rounded(
    packed: Path, repacked: Path, texts: list[list[int]], kind: str, tmp_path: Path
) -> None:
    ids = texts[0][:N_EXACT]
    exact = logits_of(write_out(repacked, tmp_path / "f32.gguf"), ids)
    written_out = compare(exact, np.load(packed / f"{kind}.npy")[:N_EXACT])
    assert written_out.top >= 0.99
    assert written_out.divergence < 1e-4
