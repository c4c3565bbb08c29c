import json
from pathlib import Path

import pytest

from qtool.errors import NotFoundError, UsageError
from qtool.models.local import LocalModel, locate_model, title_of
from qtool.models.refetch import SOURCE_FILE
from qtool.models.starters import find_starter, load_starters, starter_path


def test_path_is_itself_there_or_not(tmp_path: Path):
    assert locate_model("./none.gguf", cache_dir=tmp_path) == LocalModel(Path("none.gguf"))


def downloaded(folder: Path, repo_id: str, revision: str = "main") -> Path:
    """Make ``./name`` as `qtool download` leaves it, with one file."""
    place = folder / "name"
    note = place / SOURCE_FILE
    note.parent.mkdir(parents=True)
    note.write_text(json.dumps({"repo_id": repo_id, "revision": revision}))
    (place / "m-Q4_K_M.gguf").touch()
    return place


def test_repository_is_found_where_download_puts_it(tmp_path: Path):
    place = downloaded(tmp_path, "org/name")
    found = locate_model("Org/name:q4_k_m", cache_dir=tmp_path, folder=tmp_path)
    assert found == LocalModel(place, "q4_k_m")


def test_file_of_a_repository_is_found_in_its_folder(tmp_path: Path):
    place = downloaded(tmp_path, "org/name")
    address = "https://huggingface.co/org/name/blob/main/m-{}.gguf"
    found = locate_model(address.format("Q4_K_M"), cache_dir=tmp_path, folder=tmp_path)
    assert found == LocalModel(place / "m-Q4_K_M.gguf")
    with pytest.raises(NotFoundError):
        locate_model(address.format("Q8_0"), cache_dir=tmp_path, folder=tmp_path)


@pytest.mark.parametrize("text", ["other/name", "org/name@v2", "org/name:Q8_0", "name"])
def test_folder_of_another_repository_is_not_taken_for_it(tmp_path: Path, text: str):
    downloaded(tmp_path, "org/name")
    with pytest.raises(NotFoundError):
        locate_model(text, cache_dir=tmp_path, folder=tmp_path)


def test_folder_that_qtool_has_not_made_is_not_taken_for_a_repository(tmp_path: Path):
    (tmp_path / "name").mkdir()
    (tmp_path / "name" / "m-Q4_K_M.gguf").touch()
    with pytest.raises(NotFoundError):
        locate_model("org/name", cache_dir=tmp_path, folder=tmp_path)


def test_repository_that_is_not_here_names_the_command_that_fetches_it(tmp_path: Path):
    with pytest.raises(NotFoundError) as caught:
        locate_model("org/name:Q4_K_M", cache_dir=tmp_path, folder=tmp_path)
    assert caught.value.hint == "qtool download org/name:Q4_K_M"


def test_unknown_bare_name_lists_the_starters(tmp_path: Path):
    with pytest.raises(NotFoundError, match="smollm2-135m-instruct"):
        locate_model("nope", cache_dir=tmp_path, folder=tmp_path)


def test_starter_is_found_in_the_cache_once_fetched(tmp_path: Path):
    with pytest.raises(NotFoundError) as caught:
        locate_model("starter", cache_dir=tmp_path)
    assert caught.value.hint == "qtool download starter"
    path = starter_path(load_starters()[0], tmp_path)
    path.parent.mkdir(parents=True)
    path.touch()
    assert locate_model("Starter", cache_dir=tmp_path) == LocalModel(path)


def test_nonsense_is_refused(tmp_path: Path):
    with pytest.raises(UsageError):
        locate_model("a/b/c/d", cache_dir=tmp_path)


def test_starters_are_found_by_name_in_any_case():
    first = load_starters()[0]
    assert find_starter("starter") == find_starter(first.name.upper()) == first
    assert find_starter("gpt2") is None


def test_table_of_starters_is_sound():
    for starter in load_starters():
        assert len(starter.sha256) == 64
        assert starter.wheel_member.endswith(starter.filename)
        assert "==" in starter.wheel_requirement


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("/models/m.gguf", "m.gguf"),
        ("hub/models--org--na-me/snapshots/ba5b6c", "org/na-me"),
        ("hub/models--org--na-me/snapshots/ba5b6c/m.gguf", "org/na-me/m.gguf"),
        ("snapshots/ba5b6c", "ba5b6c"),
    ],
)
def test_model_of_the_cache_is_called_by_its_repository(path: str, title: str):
    assert title_of(Path(path)) == title
