"""Start-up is a feature: what help costs, and what it must not import."""

import os
import subprocess
import sys

import pytest

from qtool.cli import COMMANDS

HEAVY = {
    *("rich", "pydantic", "httpx", "httpx2", "huggingface_hub", "prompt_toolkit", "asyncio"),
    *("torch", "transformers", "numpy", "safetensors", "optimum", "accelerate"),
    *("xllamacpp", "llama_cpp", "auto_gptq", "awq", "gptqmodel"),
}

SCRIPT = """
import sys
from qtool.cli import main
try:
    main(sys.argv[1:])
finally:
    print("\\nmodules:", *sorted({name.partition(".")[0] for name in sys.modules}))
"""
HELPS = [["--help"], ["config", "show"], *([name, "--help"] for name in COMMANDS)]


def plain_environment() -> dict[str, str]:
    """Return the environment without coverage, which would be measured too."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COV")}


@pytest.mark.parametrize("arguments", HELPS, ids=" ".join)
def test_help_imports_nothing_heavy(arguments: list[str]):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=plain_environment(),
    )
    assert done.returncode == 0
    loaded = set(done.stdout.rpartition("modules:")[2].split())
    assert "typer" in loaded
    assert loaded.isdisjoint(HEAVY), f"{' '.join(arguments)} imports {loaded & HEAVY}"


@pytest.mark.parametrize("arguments", HELPS, ids=" ".join)
def test_help_costs_under_150_ms_of_cpu(arguments: list[str]):
    def cost_s() -> float:
        before = os.times()
        subprocess.run(
            [sys.executable, "-m", "qtool", *arguments],
            stdout=subprocess.DEVNULL,
            check=True,
            env=plain_environment(),
        )
        after = os.times()
        used = after.children_user + after.children_system
        return used - before.children_user - before.children_system

    assert min(cost_s() for _ in range(8)) < 0.15


INTERRUPTED_WHILE_IMPORTING = """
import sys
class Interrupted:
    def find_spec(self, name, path=None, target=None):
        if name == "qtool.output":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
from qtool.__main__ import main
main()
"""


def test_ctrl_c_while_modules_are_imported_is_no_traceback():
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_WHILE_IMPORTING, "--help"],
        capture_output=True,
        text=True,
        check=False,
        env=plain_environment(),
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_download_does_not_import_what_reads_models():
    program = "import sys, qtool.cli.download_run; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=plain_environment(),
    )
    readers = {"qtool.models.formats", "qtool.models.gguf", "qtool.models.safetensors"}
    assert readers.isdisjoint(done.stdout.split())
