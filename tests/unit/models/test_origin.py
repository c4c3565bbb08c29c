"""Which repository a model on the disk is from."""

import json
from pathlib import Path

import pytest

from qtool.models.origin import find_origin, is_telling


def write(folder: Path, name_or_path: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"_name_or_path": name_or_path}))
    return folder


@pytest.mark.parametrize(
    ("written", "origin"),
    [
        ("org/base", "org/base"),
        ("base", None),
        ("/home/me/base", None),
        ("./base", None),
        ("a/b/c", None),
        ("", None),
        (7, None),
    ],
)
def test_transformers_writes_down_where_a_model_was_from(
    tmp_path: Path, written: object, origin: str | None
) -> None:
    assert find_origin(write(tmp_path / "model", written)) == origin


def test_the_cache_knows_its_repositories(tmp_path: Path) -> None:
    folder = tmp_path / "models--org--name" / "snapshots" / ("c" * 40)

    assert find_origin(write(folder, "other/one")) == "org/name"
    assert find_origin(folder / "model.gguf") == "org/name"


def test_the_note_of_a_download_is_believed_before_the_config(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", "other/one")
    note = folder / ".cache" / "qtool" / "source.json"
    note.parent.mkdir(parents=True)
    note.write_text('{"repo_id": "org/name", "revision": "main"}')

    assert find_origin(folder) == "org/name"


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("Mistral-7B-Instruct-v0.3", True), ("SmolLM2-135M", True), ("Mixtral-8x7B", True),
        ("qwen2.5-0.5b-gptq", True), ("gptq-act-order-64", False), ("model", False),
        ("4bit", False), ("B2B", False),
    ],
)  # fmt: skip
def test_names_that_hubs_could_know_have_a_size(name: str, is_one: bool) -> None:
    assert is_telling(name) is is_one
