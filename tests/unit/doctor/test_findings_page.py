"""The page of codes is what the rules say, and every code that a case expects stands on it."""

import importlib.util
import re
from types import ModuleType
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.unit.doctor.test_public_cases import ALL_CASES


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("findings", ROOT / "scripts" / "findings.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_not_stale(script: Any) -> None:
    assert script.PLACE.read_text(encoding="utf-8") == script.page(), "python scripts/findings.py"


def test_every_code_of_the_cases_is_on_the_page(script: Any) -> None:
    codes = set(re.findall(r"^\| ([A-Z0-9-]+) \|", script.page(), re.MULTILINE))

    assert {code for case in ALL_CASES for code in case["expected"]["codes"]} <= codes
    assert len(codes) > 50
