from pathlib import Path

import pytest

from qtool.models.nearby import nearby_hint


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "SmolLM2-Q4_K_M.gguf").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "Mistral-7B").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("SmolLM2-Q4_K_S.gguf", "did you mean SmolLM2-Q4_K_M.gguf?"),
        ("Mistral-7b", "did you mean Mistral-7B?"),
        ("other.gguf", "in the current folder there is: SmolLM2-Q4_K_M.gguf"),
        ("none/m.gguf", "there is no folder none either"),
    ],
)
def test_hint_names_what_is_there(folder: Path, typed: str, hint: str):
    assert nearby_hint(Path(typed)) == hint


def test_folder_without_models_is_said_to_be_that(folder: Path):
    assert "no model file in Mistral-7B" in nearby_hint(Path("Mistral-7B/m.gguf"))
