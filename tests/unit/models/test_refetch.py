import json
from pathlib import Path

import pytest

from qtool.errors import IntegrityError
from qtool.models.refetch import SOURCE_FILE, refetch_hint
from qtool.models.tokenizer_files import require_tokenizer
from qtool.models.weight_file import REFETCH_HINT


def snapshot(cache: Path, commit: str = "abc") -> Path:
    repo = cache / "models--org--na-me"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("abc")
    folder = repo / "snapshots" / commit
    folder.mkdir(parents=True)
    return folder


def test_model_of_the_cache_is_completed_there(tmp_path: Path):
    folder = snapshot(tmp_path)
    assert refetch_hint(folder) == "qtool download org/na-me --cache"
    assert refetch_hint(folder / "m-Q8_0.gguf") == "qtool download org/na-me m-Q8_0.gguf --cache"


def test_other_commit_than_the_latest_is_named(tmp_path: Path):
    assert refetch_hint(snapshot(tmp_path, "def")) == "qtool download org/na-me@def --cache"


@pytest.mark.parametrize(
    ("revision", "name"), [("main", "org/name"), ("refs/pr/1", "org/name@refs/pr/1")]
)
def test_folder_that_qtool_fetched_knows_its_repository(tmp_path: Path, revision: str, name: str):
    (tmp_path / SOURCE_FILE).parent.mkdir(parents=True)
    (tmp_path / SOURCE_FILE).write_text(json.dumps({"repo_id": "org/name", "revision": revision}))
    assert refetch_hint(tmp_path) == f"qtool download {name} --local-dir {tmp_path}"


@pytest.mark.parametrize("note", [None, "", "{", "[]", "{}", "\x00"])
def test_without_a_sound_note_the_way_is_described(tmp_path: Path, note: str | None):
    if note is not None:
        (tmp_path / SOURCE_FILE).parent.mkdir(parents=True)
        (tmp_path / SOURCE_FILE).write_text(note)
    assert refetch_hint(tmp_path) == REFETCH_HINT


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model", "qwen.tiktoken"])
def test_any_kind_of_tokenizer_will_do(tmp_path: Path, name: str):
    (tmp_path / "config.json").touch()
    (tmp_path / name).touch()
    require_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["config.json", "tokenizer_config.json"], "tokenizer.json is missing"),
        (["tokenizer.json"], "config.json is missing"),
        ([], "config.json and tokenizer.json are missing"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, names: list[str], said: str):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(IntegrityError, match=said):
        require_tokenizer(tmp_path)
