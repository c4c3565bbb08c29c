"""Cures for a Python that its distribution manages begin with an environment of their own."""

from typing import Any

import pytest

from qtool.doctor.finding import Fix
from tests.unit.doctor.machines import GPTQ_MODULES, RTX_3090, findings_of, torch

DEBIAN = {"path": "/usr/bin/python3", "externally_managed": True}


def fixes_of(
    code: str, goal: str | None = None, python: dict[str, Any] = DEBIAN, **fields: Any
) -> tuple[Fix, ...]:
    return findings_of(goal, interpreter=python, **fields)[code].fixes


@pytest.mark.parametrize("goal", ["gptq", "awq", "bnb"])
def test_nothing_is_installed_into_the_distributions_python(goal: str) -> None:
    for fix in fixes_of("ENGINE-MISSING", goal):
        installs = [command for command in fix.commands if "pip install" in command]
        assert all(command.startswith(".venv/bin/python -m pip") for command in installs)
        if installs:
            assert fix.commands[0] == "/usr/bin/python3 -m venv .venv"
            assert "new environment" in fix.title


@pytest.mark.parametrize(("goal", "is_offered"), [("gptq", True), ("awq", True), ("bnb", False)])
def test_a_tested_set_is_offered_where_there_is_a_recipe(goal: str, is_offered: bool) -> None:
    firsts = [fix.commands[0] for fix in fixes_of("ENGINE-MISSING", goal)]

    assert firsts.count("qtool env create transformers") == is_offered


def test_a_cure_without_an_installation_needs_no_environment() -> None:
    gguf = next(
        fix for fix in fixes_of("ENGINE-MISSING", "gptq") if "qtool find" in fix.commands[0]
    )

    assert not any("venv" in command for command in gguf.commands)


def test_debian_may_lack_venv() -> None:
    first, *_ = fixes_of("ENGINE-MISSING", "bnb", {**DEBIAN, "has_venv": False})

    assert first.commands[0] == "sudo apt-get install -y python3-venv"


def test_uv_makes_the_environment_where_it_is_at_hand() -> None:
    first, *_ = fixes_of("ENGINE-MISSING", "bnb", {**DEBIAN, "installer": "uv"})

    assert first.commands[0] == "uv venv --allow-existing --python /usr/bin/python3 .venv"
    assert first.commands[1].startswith("uv pip install --python .venv/bin/python ")


def test_another_python_is_cured_where_it_is() -> None:
    first, *_ = fixes_of("ENGINE-MISSING", "bnb", {"path": "/opt/env/bin/python"})

    assert not any("venv" in command for command in first.commands)


def test_what_the_old_environment_had_goes_along() -> None:
    dists = {"torch": "2.3.1+cu121", "torchvision": "0.19.0", "transformers": "4.45.0"}

    step, remove, _ = fixes_of("TORCHVISION-MISMATCH", "plain", dists=dists, torch=torch("2.3.1"))

    assert step.commands == (
        "/usr/bin/python3 -m venv .venv",
        ".venv/bin/python -m pip install torch==2.3.1 transformers==4.45.0",
        ".venv/bin/python -m pip install --no-deps torchvision==0.18.1",
    )
    assert remove.commands == (
        "/usr/bin/python3 -m venv .venv",
        ".venv/bin/python -m pip install torch==2.3.1 transformers==4.45.0",
    )


def test_what_belongs_to_another_torch_stays_behind() -> None:
    dists = {"torch": "2.5.1", "auto-gptq": "0.7.1", "transformers": "4.45.0"}

    fixes = fixes_of("GPTQ-KERNELS-ABI", "gptq", dists=dists, torch=torch("2.5.1"),
                     gpus=[RTX_3090], ext_files={"auto-gptq": GPTQ_MODULES})  # fmt: skip

    modern = "\n".join(fixes[0].commands)
    assert "uninstall" not in modern
    assert "auto-gptq" not in modern
    assert "transformers==4.45.0" not in modern
    assert "gptqmodel>=7" in modern
