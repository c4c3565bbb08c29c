"""llama.cpp on repacked models against transformers on the checkpoints: logits and token ids.

llama.cpp rounds activations to 8 bits where weights are quantised, which is its arithmetic, not
the repack's. So each file is compared twice: with its weights written out in F32, where nothing but
the repack can differ, and as it is, where it has to come as near as transformers does in bfloat16,
the arithmetic that models are usually run in. Where layers do not magnify roundings, as in Gemma
and in the ``-calm`` models, the strict limits hold for the native kernels, too.
"""

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from qtool.engines.interpreters import EnginePython
from qtool.engines.repack.output_tensors import OutputTensor
from qtool.engines.repack.plan import RepackPlan, plan_repack
from qtool.engines.repack.tokenizer import read_tokenizer
from qtool.engines.repack.write import write_gguf
from qtool.models.formats import inspect_model
from qtool.models.ggml_types import GgmlType
from tests.conftest import TEST_CACHE
from tests.engines.agreement import compare, logits_of, write_out
from tests.engines.conftest import run_beside
from tests.engines.corpus import make_corpus
from tests.engines.llama_library import LlamaModel
from tests.once import make_once

pytestmark = pytest.mark.slow

NAMES = (
    *("llama3", "llama-linear-tied", "llama-bias", "mistral", "mistral-window", "qwen2-tied"),
    *("qwen2-yarn", "qwen3", "phi3", "phi3-long", "gemma2", "gemma3"),
)
CALM = tuple(name if name.startswith("gemma") else f"{name}-calm" for name in NAMES)
KINDS = ("gpt2", "smollm", "llama3", "smaug", "qwen2", "llama2", "gemma", "mistral3")
CORPUS_BYTES = 2_000_000
PART = 20_000


@pytest.fixture(scope="session")
def models(engine_python: EnginePython) -> Path:
    """Return the folder of the models that ``make_repack_models`` makes."""
    return make_once(
        TEST_CACHE / "repack-logits",
        lambda folder: run_beside(engine_python, "make_repack_models.py", str(folder)),
    )


@pytest.fixture(scope="session")
def tokenizers(engine_python: EnginePython) -> Path:
    """Return the folder of the tokenizers that ``make_tokenizers`` makes."""
    return make_once(
        TEST_CACHE / "repack-tokenizers",
        lambda folder: run_beside(engine_python, "make_tokenizers.py", str(folder)),
    )


def repacked(folder: Path, target: Path) -> RepackPlan:
    plan = plan_repack(inspect_model(folder))
    write_gguf(plan, target)
    return plan


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_those_of_transformers(models: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.gguf"
    plan = repacked(models / name, path)
    context = plan.metadata[f"{plan.architecture}.context_length"]
    assert isinstance(context, int)
    ids = json.loads((models / "ids.json").read_text())[:context]
    assert len(ids) == (128 if name == "mistral-window" else 512)
    expected = np.load(models / f"{name}.npy")[: len(ids)]
    written_out = compare(logits_of(write_out(path, tmp_path / "f32.gguf"), ids), expected)
    assert written_out.top >= 0.99
    assert written_out.divergence < 1e-4
    native = compare(logits_of(path, ids), expected)
    bfloat16 = json.loads((models / "bfloat16.json").read_text())[name]
    assert native.top >= bfloat16["top"] - 0.04
    assert native.divergence < 2 * bfloat16["divergence"]


@pytest.mark.parametrize("name", CALM)
def test_native_kernels_agree_where_layers_do_not_magnify_roundings(
    models: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / f"{name}.gguf"
    plan = repacked(models / name, path)
    ids = json.loads((models / "ids.json").read_text())
    ids = ids[: plan.metadata[f"{plan.architecture}.context_length"]]
    native = compare(logits_of(path, ids), np.load(models / f"{name}.npy")[: len(ids)])
    assert native.top >= 0.99
    assert native.divergence < 1e-3


def zeros(name: str, *shape: int) -> OutputTensor:
    return OutputTensor(name, GgmlType.F32, shape, lambda: iter([np.zeros(shape, np.float32)]))


def vocabulary_gguf(folder: Path, target: Path) -> Path:
    """Write the tokenizer in ``folder`` with a model of one small layer around it."""
    raw = json.loads((folder / "tokenizer.json").read_text())
    added = [one["id"] for one in raw["added_tokens"]]
    n_rows = max(*raw["model"]["vocab"].values(), *added) + 1
    shape = {
        "llama.block_count": 1,
        "llama.context_length": 64,
        "llama.embedding_length": 32,
        "llama.feed_forward_length": 32,
        "llama.attention.head_count": 1,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": 32,
        "llama.vocab_size": n_rows,
    }
    matrices = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    tensors = (
        zeros("token_embd.weight", n_rows, 32),
        *(zeros(f"{name}.weight", 32) for name in ("output_norm", "blk.0.attn_norm")),
        zeros("blk.0.ffn_norm.weight", 32),
        *(zeros(f"blk.0.{name}.weight", 32, 32) for name in matrices),
    )
    keys = {**read_tokenizer(folder, n_rows), **shape}
    write_gguf(RepackPlan("llama", keys, tensors), target)
    return target


def encoded(python: EnginePython, folder: Path, texts: list[str], work: Path) -> list[list[int]]:
    """Return the ids that the model's own tokenizer makes of ``texts``."""
    (work / "texts.json").write_text(json.dumps(texts))
    files = [str(work / name) for name in ("texts.json", "ids.json")]
    run_beside(python, "make_tokenizers.py", str(folder), "--encode", *files)
    return json.loads((work / "ids.json").read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_token_ids_are_those_of_the_models_own_tokenizer(
    engine_python: EnginePython, tokenizers: Path, tmp_path: Path, kind: str
) -> None:
    """Two exceptions: llama.cpp does not compose characters (NFC), which Qwen 2 asks for, and
    Mistral's prefix is that of texts which begin with a special token, as chats do."""
    folder = tokenizers / kind
    added = json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
    corpus = make_corpus(CORPUS_BYTES, [one["content"] for one in added])
    if kind == "qwen2":
        corpus = unicodedata.normalize("NFC", corpus)
    begin = "<s>" if kind == "mistral3" else ""
    parts = [begin + corpus[start : start + PART] for start in range(0, len(corpus), PART)]
    if kind in ("llama2", "gemma", "mistral3"):
        parts = [part.replace("\0", "") for part in parts]
    model = LlamaModel(vocabulary_gguf(folder, tmp_path / "vocab.gguf"))
    ours = [model.tokenize(part) for part in parts]
    model.close()
    theirs = encoded(engine_python, folder, parts, tmp_path)
    assert [index for index, ids in enumerate(ours) if ids != theirs[index]] == []
