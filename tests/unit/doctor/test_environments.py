"""What the doctor tells recipes of the machine, and which environments it may change."""

from pathlib import Path

import pytest

from qtool.doctor.apply import environment_of
from qtool.doctor.environments import indexes_for, machine_of, recipe_for
from qtool.errors import EnvironmentFault
from tests.unit.doctor.machines import RTX_3090, RTX_5090, T4, case_of

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
