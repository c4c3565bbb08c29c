"""docs/cli.md is what the program says."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_reference_is_fresh():
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    assert spec is not None and spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    written = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == program.reference(), "stale; run: python scripts/reference.py"
