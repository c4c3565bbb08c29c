"""Every format loads, and its scores are those of the weights that its codes stand for."""

import json
from pathlib import Path

import pytest

from qtool.engines.interpreters import EnginePython
from qtool.engines.transformers import PROGRAM
from tests.conftest import Run
from tests.engines.conftest import HERE, run_script

pytestmark = [pytest.mark.network, pytest.mark.slow, pytest.mark.timeout(900)]

QUANTISED = (
    *("gptq-sym-32", "gptq-sym-64", "gptq-sym-128", "gptq-asym-64", "gptq-act-order-64"),
    *("awq-64", "awq-128"),
)
THROUGH_THEIR_PACKAGE = ("library:gptq-sym-32", "library:gptq-act-order-64", "library:awq-64")
TOLERANCE = 0.25
"""Of the reference's standard deviation. bfloat16 makes 0.1 here; a wrong zero or order, over 1."""


@pytest.fixture(scope="module")
def compared(engine_python: EnginePython, tiny_models: Path) -> dict[str, dict]:
    names = (*QUANTISED, *THROUGH_THEIR_PACKAGE)
    split = [name.rpartition(":") for name in names]
    arguments = [f"{way}{colon}{tiny_models / name}" for way, colon, name in split]
    printed = run_script(engine_python, str(HERE / "compare_logits.py"), str(PROGRAM), *arguments)
    return dict(zip(names, map(json.loads, printed.splitlines()), strict=True))


@pytest.mark.parametrize("name", [*QUANTISED, *THROUGH_THEIR_PACKAGE])
def test_scores_agree_with_a_dense_reference(compared: dict[str, dict], name: str):
    assert compared[name]["error"] < TOLERANCE
    own = compared[name]["kernels"] == ["Int4Linear"]
    assert compared[name]["kernels"], "the weights were not quantised at all"
    assert own is not name.startswith("library:")
    assert compared[name]["keeps_cache"]


@pytest.mark.parametrize("name", ["plain", "gptq-asym-64", "awq-64"])
def test_folder_answers_through_qtool_chat(
    run_qtool: Run, engine_python: EnginePython, tiny_models: Path, name: str
):
    done = run_qtool(
        *("chat", str(tiny_models / name), "--python", engine_python.path, "--json"),
        *("-m", "6", "--temperature", "0", "--threads", "1"),
        input="one\ntwo\n",
    )
    assert done.returncode == 0, done.stderr
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert first["engine"] == "transformers"
    assert second["usage"]["cached_tokens"] >= first["usage"]["prompt_tokens"]
