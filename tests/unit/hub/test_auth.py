import os
import subprocess
import sys

import pytest

from qtool.errors import UsageError
from qtool.hub.auth import find_token, token_path

ORACLE = "from huggingface_hub import get_token; print(get_token() or '')"


def test_flag_wins_over_environment():
    assert find_token("hf_flag", {"HF_TOKEN": "hf_env"}) == "hf_flag"


def test_blanks_and_line_ends_are_stripped():
    assert find_token(None, {"HF_TOKEN": " hf_env\r\n"}) == "hf_env"


def test_no_token_when_nothing_is_set(tmp_path):
    assert find_token(None, {"HF_HOME": str(tmp_path)}) is None


def test_token_with_odd_characters_is_refused():
    with pytest.raises(UsageError) as caught:
        find_token("hf_a\x00b", {})
    assert "hf_a" not in caught.value.message


@pytest.mark.parametrize(
    "setup",
    [
        {"HF_TOKEN": "hf_a"},
        {"HUGGING_FACE_HUB_TOKEN": "hf_b"},
        {"HF_HOME": "{tmp}/home"},
        {"HF_TOKEN_PATH": "{tmp}/elsewhere"},
        {"XDG_CACHE_HOME": "{tmp}/xdg"},
        {"HF_TOKEN": "  ", "HF_HOME": "{tmp}/home"},
        {"HF_HOME": "~/nested"},
        {},
    ],
)
def test_token_is_the_one_huggingface_hub_finds(setup, tmp_path):
    for name in ("home", "xdg/huggingface", "nested", ".cache/huggingface"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "token").write_text(f"hf_{name.replace('/', '_')}\n")
    (tmp_path / "elsewhere").write_text("hf_elsewhere")
    environ = {name: value.format(tmp=tmp_path) for name, value in setup.items()}
    environ |= {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    done = subprocess.run([sys.executable, "-c", ORACLE], env=environ, capture_output=True)
    assert (find_token(None, environ) or "") == done.stdout.decode().strip()


def test_token_path_expands_the_home_folder():
    assert str(token_path({"HOME": "/h", "HF_HOME": "~/x"})) == "/h/x/token"
