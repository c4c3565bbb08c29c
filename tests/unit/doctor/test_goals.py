"""Answers to goals: does it run here, on what, why not; and that the cures follow the answer."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qtool.doctor.diagnosis import diagnose
from qtool.doctor.goals import GoalAnswer, answer_goal
from qtool.doctor.report import report_lines
from qtool.doctor.verdict import judge
from qtool.models.info import ModelFormat, ModelInfo, Quantization
from tests.unit.doctor.machines import (
    GPTQ_MODULES,
    RTX_3090,
    T4,
    case_of,
    findings_of,
    torch,
)

NO_GPU = {"gpus": [], "driver": None}
CUDA_TORCH = torch("2.8.0+cu128", "12.8", ["sm_75", "sm_80", "sm_86"])
GTX_980 = {"name": "NVIDIA GeForce GTX 980", "cc": "5.2", "vram_mib": 4096}
FLASH_ATTN = {"flash-attn": ["flash_attn_2_cuda"]}


def answer_to(goal: str, **fields: Any) -> GoalAnswer:
    case = case_of(goal, **fields)
    answer = answer_goal(case, diagnose(case))
    assert answer is not None
    return answer


def fixes_of(code: str, goal: str, **fields: Any) -> list[str]:
    return ["\n".join(fix.commands) for fix in findings_of(goal, **fields)[code].fixes]


def test_no_goal_needs_no_answer() -> None:
    assert answer_goal(case_of(), ()) is None


def test_a_format_runs_by_the_engine_that_is_there() -> None:
    dists = {"torch": "2.8.0", "transformers": "5.5.0", "gptqmodel": "7.0.0", "optimum": "2.3.0"}

    answer = answer_to("gptq", dists=dists, torch=CUDA_TORCH, nvcc="12.8")

    assert answer.runs is True
    assert "gptqmodel; on the NVIDIA GeForce RTX 3090" in answer.sentence
    assert not any("qtool chat" in note for note in answer.notes)


def test_an_error_outweighs_an_engine_that_would_run() -> None:
    dists = {"torch": "2.2.2", "torchvision": "0.19.0", "transformers": "4.45.0"}

    answer = answer_to("plain", dists=dists, torch=torch("2.2.2"))

    assert answer.runs is False
    assert "torchvision" in answer.sentence


def test_kernels_nobody_could_look_at_are_no_denial() -> None:
    dists = {"torch": "2.5.0a0+nv24.8", "auto-gptq": "0.7.1", "transformers": "4.45.0"}

    answer = answer_to("gptq", dists=dists, torch=torch("2.5.0a0"))

    assert answer.runs is None


def test_flash_attn_without_a_gpu_says_what_it_needs() -> None:
    answer = answer_to("flash-attn", **NO_GPU)

    assert answer.runs is False
    assert "needs an NVIDIA GPU of compute capability 8.0" in answer.sentence


@pytest.mark.parametrize("dists", [{}, {"torch": "2.8.0"}])
def test_flash_attn_without_a_gpu_is_nothing_to_install(dists: dict[str, str]) -> None:
    found = findings_of("flash-attn", dists=dists, **NO_GPU)

    assert set(found) == {"FA-NO-GPU"}
    commands = [c for fix in found["FA-NO-GPU"].fixes for c in fix.commands]
    assert not any("install" in command for command in commands)


def test_flash_attn_on_a_t4_says_what_the_t4_has() -> None:
    answer = answer_to("flash-attn", gpus=[T4])

    assert answer.runs is False
    assert "8.0 or newer; the Tesla T4 has 7.5" in answer.sentence
    assert "TORCH-MISSING" not in findings_of("flash-attn", gpus=[T4])


@pytest.mark.parametrize(
    ("fields", "runs"),
    [
        ({"dists": {"torch": "2.8.0"}}, False),
        ({"dists": {"torch": "2.8.0", "flash-attn": "2.8.3"}}, None),
        ({"dists": {"torch": "2.8.0", "flash-attn": "2.8.3"}, "ext_files": FLASH_ATTN,
          "missing_symbols": {"flash_attn_2_cuda": []}}, True),
        ({"dists": {"torch": "2.8.0", "flash-attn": "2.8.3"}, "ext_files": FLASH_ATTN,
          "missing_symbols": {"flash_attn_2_cuda": ["_ZN3c104cuda9SetDeviceEi"]}}, False),
    ],
)  # fmt: skip
def test_flash_attn_on_ampere_runs_where_it_loads(
    fields: dict[str, Any], runs: bool | None
) -> None:
    assert answer_to("flash-attn", torch=CUDA_TORCH, gpus=[RTX_3090], **fields).runs is runs


def test_awq_without_a_gpu_is_answered_with_gguf() -> None:
    answer = answer_to("awq", **NO_GPU)

    assert answer.runs is False
    assert "neither flash-attn nor autoawq is of use: take GGUF" in answer.sentence


@pytest.mark.parametrize("goal", ["awq", "gptq"])
def test_on_a_cpu_with_a_llama_cpp_most_models_run_repacked(goal: str) -> None:
    case = case_of(goal, **NO_GPU, llama_cpp="xllamacpp")
    answer = answer_goal(case, diagnose(case))
    verdict = judge(case)[goal]
    finding = findings_of(goal, **NO_GPU, llama_cpp="xllamacpp")["ENGINE-MISSING"]

    assert answer is not None
    assert (answer.runs, verdict.runs, verdict.engine) == (True, True, "llama.cpp")
    for text in (answer.sentence, verdict.why):
        assert "after a repack" in text
        assert "qtool env create transformers" in text
    assert finding.severity == "info"
    assert finding.fixes[0].commands == ("qtool chat MODEL",)
    assert "env create transformers" in finding.fixes[1].commands[0]


@pytest.mark.parametrize(("goal", "name"), [("gptq", "auto-gptq"), ("awq", "autoawq")])
def test_a_library_that_is_installed_stays_what_is_judged(goal: str, name: str) -> None:
    dists = {"torch": "2.13.0", "transformers": "4.30.0", name: "0.2.9"}
    fields = {"dists": dists, "torch": torch("2.13.0+cpu", None), "llama_cpp": "xllamacpp"}

    verdict = judge(case_of(goal, **NO_GPU, **fields))[goal]

    assert verdict.runs is False
    assert "but qtool chat runs most models by llama.cpp, repacked" in verdict.why


@pytest.mark.parametrize("fields", [{"llama_cpp": "xllamacpp"}, {**NO_GPU, "llama_cpp": None}])
def test_with_a_gpu_or_without_a_llama_cpp_nothing_is_repacked(fields: dict[str, Any]) -> None:
    assert answer_to("gptq", **fields).runs is False
    assert findings_of("gptq", **fields)["ENGINE-MISSING"].severity == "warning"


def test_the_summary_says_what_runs_repacked() -> None:
    case = case_of(**NO_GPU, llama_cpp="xllamacpp")

    (line,) = report_lines(case, diagnose(case), judge(case))

    runs = "nothing wrong found; runs GGUF, repacked also GPTQ, AWQ (examined: Python "
    assert line.text.startswith(runs)


def test_a_healthy_machine_has_its_hardware_in_the_same_line() -> None:
    fields = {
        "cpu": {"name": "AMD EPYC 7B13", "n_cores": 8},
        "ram_bytes": 2**34,
        "disk_free_bytes": 2**31,
    }
    case = case_of(gpus=[T4], **fields)

    line = next(iter(report_lines(case, diagnose(case), judge(case))))

    assert "Tesla T4 7.5; AMD EPYC 7B13, 8 cores, " in line.text
    assert "GB of RAM, " in line.text
    assert " free on disk" in line.text
    assert "GB of VRAM" in line.text


@pytest.mark.parametrize("goal", ["awq", "gptq"])
def test_without_a_gpu_gguf_is_the_first_cure_and_no_legacy_one_follows(goal: str) -> None:
    first, *others = fixes_of("ENGINE-MISSING", goal, **NO_GPU)

    assert "gguf" in first.lower()
    assert not any("autoawq" in text or "auto-gptq" in text for text in others)


def test_on_a_cpu_the_cure_of_what_is_not_repacked_is_torch_alone(tmp_path: Path) -> None:
    quantization = Quantization("gptq", "config.json", bits=4, group_size=64, is_act_order=True)
    case = replace(
        case_of("gptq", dists={}, torch=None, **NO_GPU),
        model=ModelInfo(tmp_path, ModelFormat.GPTQ, quantization),
    )
    (finding,) = (one for one in diagnose(case) if one.code == "ENGINE-MISSING")

    commands = [command for fix in finding.fixes for command in fix.commands]
    assert any("transformers>=4.36" in command for command in commands)
    assert not any("gptqmodel" in command for command in commands)


def test_for_a_plain_model_the_cure_brings_what_loads_it() -> None:
    first, pypi, *_ = findings_of("plain", **NO_GPU)["TORCH-MISSING"].fixes

    torch_command, rest = first.commands
    assert '"torch>=2.4" --index-url' in torch_command
    assert rest.endswith('install "transformers>=4.36" accelerate safetensors')
    assert "CUDA along" in pypi.title


def test_what_is_installed_already_is_not_installed_again() -> None:
    dists = {"transformers": "5.0.0", "accelerate": "1.13.0", "safetensors": "0.6.0"}

    first, *_ = fixes_of("TORCH-MISSING", "plain", dists=dists, **NO_GPU)

    assert first.count("install ") == 1


def test_pypi_s_torch_is_no_surprise_where_pytorchs_index_does_not_answer() -> None:
    url = "https://download.pytorch.org/whl/cpu"
    case = replace(case_of("plain", **NO_GPU), unreachable=frozenset({url}))

    (finding,) = (one for one in diagnose(case) if one.code == "TORCH-MISSING")

    assert "CUDA along, several GB" in finding.fixes[0].title
    assert url not in finding.fixes[0].commands[0]


def test_what_building_lacks_is_named_with_a_cure() -> None:
    notes = answer_to("build", compiler=None, ninja="1.11").notes

    assert notes[0] == "nvcc none, C++ compiler none, ninja 1.11"
    assert any("cure: python -m pip install" in note and "torch" in note for note in notes)
    assert any("build-essential" in note for note in notes)


def test_without_a_gpu_nothing_is_brought_to_build_with() -> None:
    notes = answer_to("build", compiler=None, **NO_GPU).notes

    assert "no NVIDIA GPU" in notes[1]
    assert len(notes) == 2


def test_a_gpu_nobody_could_look_for_is_not_denied() -> None:
    answer = answer_to("awq", gpus=None, dists={"torch": "2.6.0"})

    assert "without an NVIDIA GPU" not in " ".join((answer.why, *answer.notes))


@pytest.mark.parametrize(
    ("fields", "spec"),
    [
        (NO_GPU, "bitsandbytes>=0.50.2"),
        ({}, "bitsandbytes>=0.50.2"),
        ({"gpus": [GTX_980]}, "bitsandbytes>=0.49.2,<0.50"),
    ],
)
def test_bitsandbytes_is_the_first_cure_where_it_is_the_goal(
    fields: dict[str, Any], spec: str
) -> None:
    found = findings_of("bnb", **fields)
    first, *others = fixes_of("ENGINE-MISSING", "bnb", **fields)

    assert set(found) == {"ENGINE-MISSING"}
    assert spec in first
    assert "torch>=2." in first
    assert not any("gptqmodel" in text for text in (first, *others))


def test_bitsandbytes_takes_the_torch_that_is_there() -> None:
    fields = {"dists": {"torch": "2.8.0"}, "torch": CUDA_TORCH}

    first, *_ = fixes_of("ENGINE-MISSING", "bnb", **fields)

    assert "torch" not in first


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "there is no torch to build against"),
        ({"dists": {"torch": "2.8.0"}, "torch": CUDA_TORCH}, "There is no nvcc"),
        ({"dists": {"torch": "2.8.0"}, "torch": torch("2.8.0", None), **NO_GPU}, "is a CPU build"),
        ({"dists": {"torch": "2.8.0"}, "torch": CUDA_TORCH, "nvcc": "12.8", "compiler": None},
         "there is no C++ compiler"),
    ],
)  # fmt: skip
def test_what_stands_in_the_way_of_building_is_named(fields: dict[str, Any], words: str) -> None:
    answer = answer_to("build", **fields)

    assert answer.runs is False
    assert words in answer.sentence


def test_nothing_in_the_way_of_building_is_said_too() -> None:
    answer = answer_to("build", dists={"torch": "2.8.0"}, torch=CUDA_TORCH, nvcc="12.8",
                       compiler="g++ 13")  # fmt: skip

    assert answer.sentence == (
        "nothing stands in the way of building: torch 2.8.0, nvcc 12.8"
    )  # fmt: skip


@pytest.mark.parametrize("found", [{}, {"missing_symbols": {GPTQ_MODULES[0]: ["_ZN2at1a"]}}])
def test_without_torch_kernels_are_not_held_against_it(found: dict[str, Any]) -> None:
    fields = {
        "dists": {"auto-gptq": "0.7.1", "transformers": "4.36.2"}, "torch": None,
        "ext_files": {"auto-gptq": GPTQ_MODULES}, "gpus": [T4], **found,
    }  # fmt: skip

    assert "TORCH-MISSING" in findings_of("gptq", **fields)
    assert "GPTQ-KERNELS-ABI" not in findings_of("gptq", **fields)
    assert "there is no torch to load them" in judge(case_of("gptq", **fields))["gptq"].notes[0]


def test_the_answer_is_the_first_line_of_the_report() -> None:
    case = case_of("gptq", dists={"torch": "2.5.1", "auto-gptq": "0.7.1", "transformers": "4.45.0"},
                   torch=torch("2.5.1"), ext_files={"auto-gptq": GPTQ_MODULES})  # fmt: skip
    findings = diagnose(case)

    lines = [
        line.text for line in report_lines(case, findings, judge(case), answer_goal(case, findings))
    ]

    assert lines[0].startswith("✗ GPTQ does not run here: auto-gptq's kernels are present but")
    assert "they do not load on torch 2.5.1" in lines[1]
    assert lines[2].startswith("examined: Python ")
    assert lines[lines.index("1 error") + 1] == ""
