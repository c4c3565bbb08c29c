import json
from pathlib import Path

import pytest

from qtool.models.info import ModelFormat, ModelInfo
from qtool.models.other_ways import other_way
from qtool.models.refetch import SOURCE_FILE


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    place = Path("name")
    place.mkdir()
    return place


@pytest.mark.parametrize("kind", [ModelFormat.PLAIN, ModelFormat.GPTQ])
def test_gguf_in_the_same_folder_is_the_way(folder: Path, kind: ModelFormat):
    (folder / "model.gguf").touch()
    way = other_way(ModelInfo(folder, kind))
    assert way is not None
    assert way.startswith("qtool chat ./name/model.gguf ")


def test_variants_of_a_plain_model_are_looked_for_by_its_repository(folder: Path):
    plain = ModelInfo(folder, ModelFormat.PLAIN)
    assert other_way(plain) is None  # "name" is no name on a hub
    (folder / SOURCE_FILE).parent.mkdir(parents=True)
    (folder / SOURCE_FILE).write_text(json.dumps({"repo_id": "org/name", "revision": "main"}))
    assert (other_way(plain) or "").startswith("qtool find org/name --format gguf")


def test_quantized_model_alone_has_no_other_way(folder: Path):
    assert other_way(ModelInfo(folder, ModelFormat.GPTQ)) is None
