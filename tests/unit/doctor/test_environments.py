"""What the doctor tells recipes of the machine, and which environments it may change."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from qtool.doctor import environments
from qtool.doctor.apply import environment_of
from qtool.doctor.diagnosis import diagnose
from qtool.doctor.environments import hint_for, indexes_for, machine_of, recipe_for
from qtool.doctor.goals import answer_goal
from qtool.doctor.inside import case_within
from qtool.doctor.prescription import prescribe
from qtool.doctor.proven_sets import proven_set
from qtool.doctor.report import report_lines
from qtool.doctor.verdict import judge
from qtool.envs.environment import Environment
from qtool.errors import EnvironmentFault
from qtool.models.info import ModelFormat, ModelInfo, Quantization
from tests.unit.doctor.machines import RTX_3090, RTX_5090, T4, case_of, torch

CPU = {"gpus": [], "driver": None}


@pytest.mark.parametrize(
    ("fields", "capabilities", "cuda"),
    [
        (CPU, (), None),
        ({"driver": "550.54"}, ((8, 6),), 12),
        ({"driver": "470.1", "gpus": [T4]}, ((7, 5),), 11),
        ({"driver": "580.65.06", "gpus": [T4, RTX_3090]}, ((7, 5), (8, 6)), 13),
        ({"driver": "390.1"}, ((8, 6),), 0),
        ({"driver": None}, ((8, 6),), None),
    ],
)
def test_machines_in_short(fields: dict, capabilities: tuple, cuda: int | None) -> None:
    machine = machine_of(case_of(**fields))

    assert (machine.system, machine.arch) == ("Linux", "x86_64")
    assert machine.capabilities == capabilities
    assert machine.highest_cuda_major == cuda


def test_a_gpu_of_unknown_kind_is_a_gpu() -> None:
    machine = machine_of(case_of(gpus=[{"name": "NVIDIA Thing"}]))

    assert machine.has_gpu
    assert machine.capabilities == ()


def test_on_a_cpu_pytorchs_cpu_index_comes_before_pypi() -> None:
    indexes = indexes_for(case_of(**CPU), is_for_gpu=False)

    assert indexes("torch", ">=2.8") == ("https://download.pytorch.org/whl/cpu", None)
    assert indexes("numpy", "") == (None,)


def test_a_mirror_takes_the_place_of_pytorchs_index() -> None:
    case = case_of(**CPU, env_vars={"QTOOL_TORCH_INDEX": "https://mirror/whl"})

    assert indexes_for(case, is_for_gpu=False)("torch", "")[0] == "https://mirror/whl/cpu"


@pytest.mark.parametrize(
    ("fields", "versions", "first"),
    [
        ({"driver": "580.65.06"}, ">=2.8,<2.14", None),
        ({"driver": "550.54"}, ">=2.2.2,<2.2.3", None),
        ({"driver": "470.1"}, ">=2.6,<2.7", "https://download.pytorch.org/whl/cu118"),
    ],
)
def test_torch_for_a_gpu_fits_gpu_and_driver(
    fields: dict, versions: str, first: str | None
) -> None:
    assert indexes_for(case_of(**fields), is_for_gpu=True)("torch", versions)[0] == first


def test_llama_cpp_pythons_index_fits_gpu_and_driver() -> None:
    old = indexes_for(case_of(driver="550.54"), is_for_gpu=True)("llama-cpp-python", "")
    new = indexes_for(case_of(driver="580.1", gpus=[RTX_5090]), is_for_gpu=True)

    assert old[0] is not None
    assert old[0].endswith("/cu124")
    assert (new("llama-cpp-python", "")[0] or "").endswith("/cu130")


@pytest.mark.parametrize(
    ("goal", "recipe"), [("gptq", "transformers"), ("gguf", "gguf"), (None, "transformers")]
)
def test_the_recipe_follows_the_goal(goal: str | None, recipe: str) -> None:
    assert recipe_for(case_of(goal)) == recipe


def interpreter(prefix: Path, **fields: object) -> dict:
    (prefix / "bin").mkdir(parents=True, exist_ok=True)
    return {"interpreter": {"path": str(prefix / "bin" / "python"), **fields}}


def test_virtual_and_conda_environments_may_be_changed(tmp_path: Path) -> None:
    for name in ("pyvenv.cfg", "conda-meta"):
        prefix = tmp_path / name / "env"
        case = case_of(**interpreter(prefix))
        (prefix / name).mkdir() if name == "conda-meta" else (prefix / name).touch()

        assert environment_of(case, tmp_path / "store") == prefix


@pytest.mark.parametrize("kind", ["plain", "managed", "conda base"])
def test_other_pythons_may_not(tmp_path: Path, kind: str) -> None:
    prefix = tmp_path / "usr"
    case = case_of("gguf", **interpreter(prefix, externally_managed=kind == "managed"))
    if kind == "managed":
        (prefix / "pyvenv.cfg").touch()
    if kind == "conda base":
        (prefix / "conda-meta").mkdir()
        (prefix / "condabin").mkdir()

    with pytest.raises(EnvironmentFault, match="does not change it") as caught:
        environment_of(case, tmp_path / "store")
    assert caught.value.hint == "qtool env create gguf"


def test_a_tested_set_is_made_anew_instead(tmp_path: Path) -> None:
    prefix = tmp_path / "store" / "gguf" / "2026"
    case = case_of(**interpreter(prefix))
    (prefix / "pyvenv.cfg").touch()

    with pytest.raises(EnvironmentFault, match="tested set") as caught:
        environment_of(case, tmp_path / "store")
    assert caught.value.hint == "qtool env create gguf --force"


# --- environments as cures ------------------------------------------------------------------


PROVEN = {"torch": "2.13.0+cpu", "transformers": "5.23.0", "gptqmodel": "7.6.0", "optimum": "2.3"}


def own(
    name: str,
    *serves: str,
    python: str = sys.executable,
    versions: Mapping[str, str] = MappingProxyType({}),
) -> Environment:
    return Environment(
        name=name, recipe=name, variant="cpu", path=Path("/data/envs") / name,
        python=Path(python), python_version="3.11", engine="transformers", serves=serves,
        versions=versions, proof=(), created_at="", size_bytes=0,
    )  # fmt: skip


def cure(form: ModelFormat, *environments: Environment, **fields: Any) -> tuple[str, ...]:
    case = replace(case_of(**fields), environments=environments)
    found = proven_set(case, form)
    return found.commands if found else ()


@pytest.mark.parametrize(
    ("form", "fields", "recipe"),
    [
        (ModelFormat.GPTQ, CPU, "transformers"),
        (ModelFormat.AWQ, {"gpus": [T4]}, "transformers"),
        (ModelFormat.GGUF, {}, "gguf"),
        (ModelFormat.GGUF, CPU, None),  # it is qtool's own llama.cpp once more
        (ModelFormat.GGUF, {**CPU, "llama_cpp": None}, "gguf"),
        (ModelFormat.BITSANDBYTES, CPU, None),
        (ModelFormat.GPTQ, {**CPU, "os": {"system": "Darwin", "arch": "arm64"}}, None),
        (ModelFormat.GPTQ, {**CPU, "os": {}}, None),
        (ModelFormat.PLAIN, {"gpus": [{"name": "GeForce GTX 980", "cc": "5.2"}]}, "transformers"),
    ],
)
def test_the_recipe_follows_format_and_machine(
    form: ModelFormat, fields: dict, recipe: str | None
) -> None:
    commands = cure(form, **fields)

    assert commands[:1] == ((f"qtool env create {recipe}",) if recipe else ())


def test_an_environment_that_is_there_is_taken() -> None:
    assert cure(ModelFormat.AWQ, own("mine", "gptq", "awq")) == ("qtool chat MODEL --env mine",)


def test_an_environment_for_other_formats_or_without_its_python_is_not() -> None:
    others = (own("old", "gptq", "awq", python="/nowhere/python"), own("gguf", "gguf"))

    assert cure(ModelFormat.AWQ, *others)[0] == "qtool env create transformers"


def test_where_an_own_environment_serves_the_examined_one_lacks_nothing() -> None:
    case = replace(case_of("awq", dists={}, **CPU), environments=(own("mine", "awq"),))

    (finding,) = (one for one in diagnose(case) if one.code == "ENGINE-MISSING")

    assert finding.severity == "info"


def test_what_an_own_environment_runs_is_a_model_that_runs() -> None:
    environments = (own("mine", "awq", versions=PROVEN),)
    case = replace(case_of("awq", dists={}, **CPU), environments=environments)

    verdict, answer = judge(case)["awq"], answer_goal(case, diagnose(case))

    assert (verdict.runs, verdict.environment) == (True, "mine")
    assert verdict.why.startswith("with --env mine, an environment of qtool's: transformers, by")
    assert [fix.commands for fix in verdict.cures] == [("qtool chat MODEL --env mine",)]
    assert answer is not None and answer.runs is True


def lines_about(*environments: Environment) -> list[str]:
    quantization = Quantization("gptq", "config.json", bits=4, group_size=64, is_act_order=True)
    info = ModelInfo(Path("/m/x"), ModelFormat.GPTQ, quantization)
    case = replace(case_of("gptq", dists={}, **CPU), environments=environments, model=info)
    return [line.text for line in report_lines(case, diagnose(case), judge(case))]


def test_what_runs_in_an_own_environment_is_not_said_to_lack_anything() -> None:
    lines = lines_about(own("mine", "gptq", versions=PROVEN))

    assert lines[0].startswith("✓ runs: x, GPTQ, 4 bit g64: with --env mine, ")
    assert lines[-1] == "nothing wrong found"


def test_a_cure_is_shown_once() -> None:
    lines = lines_about()

    assert lines[0].startswith("✗ does not run: ")
    assert any("ENGINE-MISSING" in line for line in lines)
    assert [line.strip() for line in lines].count("qtool env create transformers") == 1


def test_a_model_that_an_own_environment_has_no_memory_for_does_not_run() -> None:
    info = ModelInfo(path=Path("/m/x"), format=ModelFormat.PLAIN, weights_bytes=2**40)
    environments = (own("mine", "plain", versions=PROVEN),)
    case = replace(case_of(dists={}, ram_bytes=2**34, **CPU), environments=environments, model=info)

    verdict = judge(case)["plain"]

    assert (verdict.runs, verdict.environment) == (False, None)
    assert verdict.why.endswith("it does not fit into memory")


def test_an_environment_whose_record_says_little_is_believed_its_proof() -> None:
    case = replace(case_of("awq", dists={}, **CPU), environments=(own("mine", "awq"),))

    assert judge(case)["awq"].why == (
        "with --env mine, an environment of qtool's: transformers, as proven"
    )


@pytest.mark.parametrize(
    ("versions", "cuda"),
    [
        ({"torch": "2.11.0+cu128"}, "12.8"),
        ({"torch": "2.11.0+cpu", "nvidia-cuda-runtime": "13.0.48"}, None),
        ({"torch": "2.11.0", "nvidia-cuda-runtime": "13.0.48"}, "13.0"),
        ({"torch": "2.11.0"}, None),
    ],
)
def test_the_cuda_of_an_environment_is_read_off_its_wheels(
    versions: dict[str, str], cuda: str | None
) -> None:
    inside = case_within(case_of(gpus=[T4]), own("mine", "gptq", versions=versions))

    assert inside.torch is not None
    assert inside.torch.cuda == cuda
    assert inside.version("torch") == versions["torch"]


def test_nothing_is_prescribed_where_nothing_is_wrong() -> None:
    case = case_of(**CPU)

    assert prescribe(case, diagnose(case)) is None


def test_the_cure_of_a_model_without_a_finding_is_prescribed() -> None:
    info = ModelInfo(path=Path("/m/x y"), format=ModelFormat.PLAIN)
    case = replace(case_of(dists={"torch": "2.6.0"}, torch=torch("2.6.0+cpu", None), **CPU),
                   model=info)  # fmt: skip

    found = prescribe(case, diagnose(case))

    assert found is not None
    assert (found.recipe, found.runs) == (
        "transformers",
        ("qtool chat '/m/x y' --env transformers",),
    )


def test_the_chats_hint_is_the_doctors_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    info = ModelInfo(path=Path("/m/x"), format=ModelFormat.GPTQ)
    monkeypatch.setattr(environments, "look_around", lambda environ: case_of(**CPU))

    hint = hint_for(info, {})

    assert hint == "qtool env create transformers && qtool chat /m/x --env transformers"
