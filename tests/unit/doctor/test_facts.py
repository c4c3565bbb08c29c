"""The fact files follow their schema, and say what the measurements say."""

import json
from importlib.resources import files
from typing import Any

import pytest

from qtool.doctor import facts
from qtool.doctor.rules.environment import FAMILY

FOLDER = files("qtool.doctor.facts")
SCHEMA = json.loads(FOLDER.joinpath("schema.json").read_text())
SUBJECTS = sorted(
    item.name
    for item in FOLDER.iterdir()
    if item.name.endswith(".json") and "schema" not in item.name
)


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_file_follows_the_schema(name: str) -> None:
    document: dict[str, Any] = json.loads(FOLDER.joinpath(name).read_text())
    rules = SCHEMA["properties"]["facts"]["additionalProperties"]

    assert set(document) <= set(SCHEMA["properties"])
    for fact in document["facts"].values():
        assert set(rules["required"]) <= set(fact) <= set(rules["properties"])
        assert fact["level"] in rules["properties"]["level"]["enum"]
        assert fact["source"]


@pytest.mark.parametrize(
    ("package", "version", "torch", "loads"),
    [
        ("auto-gptq", "0.4.2", "2.1.2", True),
        ("auto-gptq", "0.4.2", "2.2.2", False),
        ("auto-gptq", "0.6.0", "2.1.2", True),
        ("auto-gptq", "0.6.0", "2.2.2", False),
        ("auto-gptq", "0.7.1", "2.2.2", True),
        ("auto-gptq", "0.7.1", "2.1.2", False),
        ("auto-gptq", "0.7.1", "2.3.1", False),
        ("autoawq-kernels", "0.0.3", "2.1.2", True),
        ("autoawq-kernels", "0.0.3", "2.2.2", False),
        ("autoawq-kernels", "0.0.4", "2.2.2", True),
        ("autoawq-kernels", "0.0.6", "2.2.2", True),
        ("autoawq-kernels", "0.0.7", "2.2.2", False),
        ("autoawq-kernels", "0.0.7", "2.6.0", True),
        ("autoawq-kernels", "0.0.9", "2.3.1", False),
        ("autoawq-kernels", "0.0.9", "2.4.1", True),
        ("autoawq-kernels", "0.0.9", "2.7.1", False),
    ],
)
def test_a_range_agrees_with_the_measured_symbols(
    package: str, version: str, torch: str, loads: bool
) -> None:
    built = facts.built_for(package, version)

    assert built is not None
    assert facts.is_within(torch, built.torch) is loads


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("NVIDIA A100-SXM4-40GB", (8, 0)),
        ("NVIDIA A10", (8, 6)),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", (8, 9)),
        ("NVIDIA H100 80GB HBM3", (9, 0)),
        ("NVIDIA RTX 6000 Ada Generation", (8, 9)),
        ("Quadro RTX 6000", (7, 5)),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", (12, 0)),
        ("NVIDIA GeForce GTX 1080 Ti", (6, 1)),
        ("Tesla T4", (7, 5)),
        ("RTX 6000", None),
        ("TITAN X", None),
        ("AMD Radeon", None),
        ("", None),
    ],
)
def test_a_name_gives_the_capability_unless_it_is_ambiguous(
    name: str, capability: tuple[int, int] | None
) -> None:
    assert facts.capability_by_name(name) == capability


@pytest.mark.parametrize(
    ("symbol", "words"),
    [
        ("_ZN3c104cuda9SetDeviceEi", "torch 2.2 or older"),
        ("_ZN3c104cuda9SetDeviceEab", "torch 2.8 or newer"),
        ("_ZN3c105ErrorC2ENS_14SourceLocationESs", "old C++ ABI"),
        ("_ZN3c104cuda9SetDeviceEiXX", None),
    ],
)
def test_a_symbol_tells_what_a_module_was_built_for(symbol: str, words: str | None) -> None:
    found = facts.built_for_by_symbol(symbol)

    assert found is None if words is None else words in (found or "")


def test_every_package_that_may_conflict_is_one_whose_metadata_is_read() -> None:
    assert set(FAMILY) <= set(facts.fact("requirements", "of_interest"))
