"""Snapshots: what is unknown stays unknown, and nothing that is read can break the diagnosis."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtool.doctor import snapshot_file
from qtool.doctor.case import make_case
from qtool.doctor.diagnosis import diagnose
from qtool.doctor.finding import Finding, Goal
from qtool.doctor.report import report_lines
from qtool.doctor.snapshot import UNKNOWN
from qtool.doctor.snapshot_file import load
from qtool.doctor.snapshot_reader import from_mapping
from qtool.doctor.snapshot_writer import to_mapping
from qtool.doctor.verdict import judge
from qtool.errors import NotFoundError, UsageError
from tests.unit.doctor.machines import GPTQ_MODULES, LINUX, RTX_3090, machine, torch

VERSIONS = st.sampled_from(
    ["2.2.2+cu121", "2.5.0a0+nv24.8", "0", "99999999999999999999.1", "latest", "", "2.7.1", "5.0.0"]
) | st.text(max_size=8)
NAMES = st.sampled_from(
    [
        *("torch", "auto-gptq", "autoawq", "autoawq-kernels", "gptqmodel", "flash-attn", "numpy"),
        *("transformers", "optimum", "bitsandbytes", "llama-cpp-python", "torchvision"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)
GPUS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "name": st.sampled_from(["Tesla T4", "NVIDIA GeForce RTX 5090", "?"]) | JSON,
            "cc": st.sampled_from(["7.5", "12.0", "6.1", "0.0", "99.9"]) | JSON,
            "vram_mib": st.sampled_from([0, 4096, 10**30]) | JSON,
        },
    ),
    max_size=3,
)
TORCH = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "version": VERSIONS | JSON,
        "cuda": st.sampled_from(["12.1", "13.0", "11", "x", ""]) | JSON,
        "arch_list": st.lists(st.sampled_from(["sm_80", "sm_120", "compute_90", "sm_x"])) | JSON,
    },
)
MODEL = st.fixed_dictionaries(
    {},
    optional={
        name: st.integers(-1, 10**15) | JSON
        for name in ("params", "bits", "group_size", "n_layers", "n_kv_heads", "head_dim")
    },
)
SNAPSHOTS = st.fixed_dictionaries(
    {},
    optional={
        "os": st.sampled_from([LINUX, {"system": "Darwin"}, {"system": "Windows"}]) | JSON,
        "python": VERSIONS | JSON,
        "dists": st.dictionaries(NAMES, VERSIONS) | JSON,
        "ext_files": st.dictionaries(NAMES, st.lists(st.sampled_from(GPTQ_MODULES))) | JSON,
        "import_results": st.dictionaries(st.sampled_from(GPTQ_MODULES), st.text()) | JSON,
        "missing_symbols": st.dictionaries(st.sampled_from(GPTQ_MODULES), JSON) | JSON,
        "requires": st.dictionaries(NAMES, st.lists(st.text(max_size=12))) | JSON,
        "torch": TORCH | JSON,
        "gpus": GPUS | JSON,
        "driver": st.sampled_from(["550.54", "470.1", "1", "a/b"]) | JSON,
        "nvcc": st.sampled_from(["12.1", "x"]) | JSON,
        "model": MODEL | JSON,
        "other_interpreters": JSON,
        "env_vars": JSON,
    },
)


@settings(max_examples=150)
@given(env=SNAPSHOTS | JSON, goal=st.none() | st.sampled_from(list(Goal)))
def test_any_snapshot_gives_findings_and_a_verdict(env: Any, goal: Goal | None) -> None:
    case = make_case(from_mapping(env), goal)

    findings, verdict = diagnose(case), judge(case)

    assert all(isinstance(finding, Finding) and finding.evidence for finding in findings)
    assert list(report_lines(case, findings, verdict))
    json.dumps([one.to_json() for one in verdict.values()])


def test_a_model_of_absurd_depth_costs_neither_time_nor_memory() -> None:
    shape = {"params": 7e9, "bits": 4, "n_layers": 10**15, "n_kv_heads": 8, "head_dim": 128}

    case = make_case(from_mapping(machine(model={"id": "deep", **shape})), Goal.GPTQ)

    assert case.model is not None
    assert case.model.attention is None
    assert "gptq" in judge(case)


def test_fractions_of_a_mebibyte_are_kept() -> None:
    snapshot = from_mapping({"gpus": [{"vram_mib": 0.5, "vram_free_mib": 3}]})
    assert to_mapping(snapshot)["gpus"] == [{"vram_mib": 0.5, "vram_free_mib": 3}]


@settings(max_examples=100)
@given(env=SNAPSHOTS)
def test_writing_and_reading_changes_nothing(env: dict[str, Any]) -> None:
    snapshot = from_mapping(env)

    assert from_mapping(json.loads(json.dumps(to_mapping(snapshot)))) == snapshot


@pytest.mark.parametrize("field", ["dists", "gpus", "torch", "nvcc", "driver", "python"])
def test_a_field_is_unknown_when_it_is_missing(field: str) -> None:
    env = machine()
    del env[field]

    assert getattr(from_mapping(env), field) is UNKNOWN


@pytest.mark.parametrize("field", ["torch", "nvcc", "driver"])
def test_a_field_is_absent_when_it_is_null(field: str) -> None:
    assert getattr(from_mapping({field: None}), field) is None


@pytest.mark.parametrize("field", ["dists", "gpus", "torch", "nvcc", "driver", "python"])
def test_a_field_is_unknown_when_its_type_is_wrong(field: str) -> None:
    assert getattr(from_mapping({field: 7}), field) is UNKNOWN


def test_a_case_names_its_goal(tmp_path: Path) -> None:
    path = tmp_path / "case.json"
    path.write_text(json.dumps({"goal": "awq", "env": machine(python="3.9.1")}))

    snapshot, goal = load(str(path))

    assert (snapshot.python, goal) == ("3.9.1", Goal.AWQ)


def test_a_case_is_chosen_from_a_list_by_its_id(tmp_path: Path) -> None:
    path = tmp_path / "cases.json"
    cases = [{"id": "A", "env": {"python": "3.9"}}, {"id": "B", "env": {"python": "3.10"}}]
    path.write_text(json.dumps({"cases": cases}))

    assert load(f"{path}#B")[0].python == "3.10"
    with pytest.raises(UsageError, match="2 cases"):
        load(str(path))
    with pytest.raises(NotFoundError, match="'C'"):
        load(f"{path}#C")


@pytest.mark.parametrize("content", ["", "[1]", "{", "[" * 100_000, "\x00\xff", '{"cases": null}'])
def test_a_file_that_is_no_snapshot_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content, encoding="latin-1")

    with pytest.raises(UsageError, match="no snapshot"):
        load(str(path))


def test_cases_without_an_id_cannot_be_chosen(tmp_path: Path) -> None:
    path = tmp_path / "cases.json"
    path.write_text('{"cases": [{"env": {}}, 7]}')

    with pytest.raises(UsageError, match="no case with an id"):
        load(str(path))


def test_a_file_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_file, "MAX_FILE_BYTES", 1000)

    with pytest.raises(UsageError, match="larger than any snapshot"):
        load("/dev/zero")


def test_doctors_own_json_can_be_examined_again(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"findings": [], "goal": None, "snapshot": machine(python="3.9.1")}))

    assert load(str(path))[0].python == "3.9.1"


def test_a_file_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        load(str(tmp_path / "none.json"))


def test_gpu_and_torch_survive_a_round_trip() -> None:
    snapshot = from_mapping(machine(torch=torch("2.2.2+cu121"), gpus=[RTX_3090]))

    again = to_mapping(snapshot)

    assert again["gpus"] == [RTX_3090]
    assert again["torch"] == torch("2.2.2+cu121")
