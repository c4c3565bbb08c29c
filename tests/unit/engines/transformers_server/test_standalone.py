"""The folder runs where qtool is not installed, and on Python 3.9."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from qtool.engines import lifeline
from qtool.engines.transformers import PROGRAM

MODULES = [*sorted(PROGRAM.glob("*.py")), Path(lifeline.__file__)]
ALLOWED = {*sys.stdlib_module_names, "torch", "transformers", "tqdm", "jinja2", "safetensors"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_module_is_python_3_9_and_imports_nothing_else(path: Path):
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert {alias.name.partition(".")[0] for alias in node.names} <= ALLOWED
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            assert (node.module or "").partition(".")[0] in {*ALLOWED, "__future__"}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1 or (node.level, node.module) == (2, "lifeline")


@pytest.mark.parametrize("given", ["", "{}\n", '{"model": "m"}\n'])
def test_program_says_what_is_wrong_with_its_settings(given: str, tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-I", str(PROGRAM)],
        input=given,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_failure_to_load_is_reported_before_the_program_ends(tmp_path: Path):
    """There is no such model here, nor torch, either of which is reason enough."""
    with subprocess.Popen(
        [sys.executable, "-I", str(PROGRAM)],
        stdin=subprocess.PIPE,  # open to the end, or the lifeline would end it first
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b'{"model": "/none", "api_key": "k"}\n')
        process.stdin.flush()
        last = json.loads(process.stdout.read().splitlines()[-1])
        assert last["error"]["message"]
        assert process.wait(10) == 1


def test_failure_is_told_by_health_where_the_server_is_to_stay_up(tmp_path: Path):
    with subprocess.Popen(
        [sys.executable, "-I", str(PROGRAM)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b'{"model": "/none", "api_key": "k", "stays_up": true}\n')
        process.stdin.flush()
        lines = (json.loads(line) for line in process.stdout)
        url = next(line["listening"] for line in lines if "listening" in line)
        reason = next(line["error"]["message"] for line in lines if "error" in line)
        with pytest.raises(HTTPError) as caught:
            urlopen(Request(f"{url}/health", headers={"Authorization": "Bearer k"}))
        assert json.loads(caught.value.read()) == {"status": "failed", "error": reason}
        caught.value.close()
        process.stdin.close()
        process.wait(5)
