"""`qtool chat` with models that are not all there: what is missing, and how to complete it."""

import json
import struct
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.hub.fixtures import HubFactory
from tests.hub.repository import Repo

HEADER = b'{"w":{"dtype":"F32","shape":[100],"data_offsets":[0,400]}}'
WEIGHTS = struct.pack("<Q", len(HEADER)) + HEADER + bytes(400)
SHARDS = [f"model-0000{part}-of-00002.safetensors" for part in (1, 2)]
INDEX = json.dumps({"weight_map": dict(zip("wv", SHARDS, strict=True))}).encode()
FILES = {
    "config.json": b'{"model_type":"llama","architectures":["LlamaForCausalLM"]}',
    "tokenizer.json": b"{}",
    "model.safetensors.index.json": INDEX,
    **dict.fromkeys(SHARDS, WEIGHTS),
}


@pytest.fixture
def model(
    run_qtool: Run, hub_factory: HubFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Return a model that ``qtool download`` fetched, the hub gone since."""
    monkeypatch.setenv("HF_ENDPOINT", hub_factory([Repo("org/name", FILES)]).url)
    assert run_qtool("download", "org/name", cwd=tmp_path).returncode == 0
    return tmp_path / "name"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model-00002-of-00002.safetensors", "model-00002-of-00002.safetensors"),
        ("tokenizer.json", "tokenizer.json is missing"),
        ("config.json", "config.json is missing"),
    ],
)
def test_missing_file_is_named_with_the_download_that_completes_the_model(
    run_qtool: Run, model: Path, name: str, said: str
):
    (model / name).unlink()
    done = run_qtool("chat", str(model), "--engine", "transformers", "-p", "x")
    assert done.returncode == 6, done.stderr
    assert said in done.stderr
    hint = f"qtool download org/name --local-dir {model}"
    assert hint in done.stderr
    assert run_qtool(*hint.split()[1:]).returncode == 0
    assert (model / name).read_bytes() == FILES[name]


def test_shard_that_is_cut_off_is_named_with_the_bytes_that_are_missing(
    run_qtool: Run, model: Path
):
    shard = model / "model-00001-of-00002.safetensors"
    shard.write_bytes(WEIGHTS[:-150])
    done = run_qtool("chat", str(model), "-p", "x")
    assert done.returncode == 6
    assert f"{shard} is truncated: 150 of {len(WEIGHTS)} bytes are missing" in done.stderr
    assert f"qtool download org/name --local-dir {model}" in done.stderr
    assert "Traceback" not in done.stderr
