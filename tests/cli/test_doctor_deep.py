"""``qtool doctor --deep`` and ``--run`` as a process, on environments of fake packages."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_doctor import Environment, environment, report
from tests.conftest import Run
from tests.unit.doctor.test_deep import BREEDS, HANG, NOISE, SEGFAULT

__all__ = ["environment"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")


def with_modules(env: Path, **modules: str) -> Path:
    (site,) = env.glob("lib/python3*/site-packages")
    for name, text in modules.items():
        (site / f"{name}.py").write_text(text)
    return env


@pytest.fixture
def hostile(environment: Environment) -> Path:
    """Return an environment where one module crashes, one hangs and breeds, one shouts."""
    env = environment(gptqmodel="7.6.0", autoawq="0.2.9", bitsandbytes="0.45.0", optimum="2.3.0")
    return with_modules(
        env,
        gptqmodel=SEGFAULT,
        awq=BREEDS + HANG,
        bitsandbytes=NOISE,
        optimum="import nothing_of_that_name",
    )


def test_whatever_modules_do_is_contained_and_said(run_qtool: Run, hostile: Path) -> None:
    began = time.monotonic()

    arguments = ("--python", str(hostile), "--goal", "gptq", "--deep", "--timeout", "2")
    result = run_qtool("doctor", *arguments, "--json")

    document = json.loads(result.stdout)
    imports = document["snapshot"]["imports"]
    assert {name: one["ending"] for name, one in imports.items()} == {
        "optimum.gptq": "raised",
        "gptqmodel": "crashed",
        "awq": "hung",
        "bitsandbytes": "imported",
    }
    assert imports["bitsandbytes"]["n_output_bytes"] == 2_000_000
    assert len(result.stdout) < 50_000
    assert result.returncode == 1
    found = {(finding["code"], finding["severity"]) for finding in document["findings"]}
    assert {
        ("IMPORT-CRASHES", "error"),
        ("IMPORT-HANGS", "info"),
        ("IMPORT-FAILS", "error"),
    } <= found
    assert time.monotonic() - began < 30


def test_a_report_names_the_signal_and_shows_no_noise(run_qtool: Run, hostile: Path) -> None:
    result = run_qtool(
        "doctor", "--python", str(hostile), "--goal", "gptq", "--deep", "--timeout", "1"
    )

    assert "SIGSEGV" in result.stdout
    assert "No module named 'nothing_of_that_name'" in result.stdout
    assert "xxxx" not in result.stdout + result.stderr


def test_without_deep_nothing_is_imported(run_qtool: Run, hostile: Path) -> None:
    document: dict[str, Any] = report(run_qtool, "--python", str(hostile))

    assert "imports" not in document["snapshot"]
    assert "import_results" not in document["snapshot"]


def test_another_machines_modules_cannot_be_imported(run_qtool: Run, tmp_path: Path) -> None:
    saved = tmp_path / "s.json"
    saved.write_text('{"python": "3.11.1"}')

    result = run_qtool("doctor", "--snapshot", str(saved), "--deep")

    assert result.returncode == 2
    assert "another machine" in result.stderr
