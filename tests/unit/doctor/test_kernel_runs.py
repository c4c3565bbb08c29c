"""Kernels run for real: what is planned, what becomes of a child's answer, what is said of it."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from qtool.doctor.case import Case
from qtool.doctor.deep.contained import Ending, Outcome
from qtool.doctor.deep.kernel_report import kernel_lines
from qtool.doctor.deep.kernel_runs import SPIN_COUNT, run_kernels, run_of, with_best_bandwidth
from qtool.doctor.deep.kernel_tasks import KernelSettings, KernelTask, plan_kernels, read_widths
from qtool.doctor.diagnosis import diagnose
from qtool.doctor.finding import Finding
from qtool.doctor.lines import translated
from qtool.doctor.snapshot import Interpreter, KernelEnding, KernelRun, Snapshot
from qtool.doctor.snapshot_reader import from_mapping
from qtool.doctor.snapshot_writer import to_mapping
from qtool.doctor.speed import expected_of_run
from qtool.engines import llama_cpp_server
from qtool.language.translation import Language
from qtool.models.info import ModelFormat, ModelInfo, Quantization
from tests.unit.doctor.machines import RTX_3090, case_of, torch
from tests.unit.doctor.test_deep import HANG, SEGFAULT

MODERN = {"torch": "2.13.0", "transformers": "5.23.0", "gptqmodel": "7.6.0", "optimum": "2.3.0"}
LEGACY = {"torch": "2.2.2", "transformers": "4.49.0", "auto-gptq": "0.7.1", "autoawq": "0.2.9"}
CPU_TORCH = {"version": "2.13.0+cpu", "cuda": None}
HALF = KernelRun("half", KernelEnding.MEASURED, "torch", "linear", "cpu", "", 0.002, 0.001, 2_000)
GPTQ = KernelRun(
    "gptq", KernelEnding.MEASURED, "gptqmodel", "Marlin", "cpu", "", 0.003, 0.0005, 520, 4e6
)


def kinds(case: Case, gguf: Path | None = None) -> list[str]:
    return [task.kind for task in plan_kernels(case, gguf)]


def on_cpu(**dists: str) -> Case:
    names = {name.replace("_", "-"): version for name, version in dists.items()}
    return case_of(None, dists=names, torch=CPU_TORCH, gpus=[])


# --- plan -----------------------------------------------------------------------------------


def test_a_modern_environment_runs_both_formats_through_gptqmodel() -> None:
    assert kinds(on_cpu(**MODERN)) == ["half", "int4pack", "gptq", "awq"]


def test_a_legacy_environment_runs_what_it_has_on_the_gpu_that_the_verdict_names() -> None:
    case = case_of(None, dists=LEGACY, torch=torch("2.2.2+cu121"), gpus=[RTX_3090])

    tasks = plan_kernels(case)

    assert [task.kind for task in tasks] == ["half", "gptq", "awq"]
    assert {task.settings.device for task in tasks} == {"cuda:0"}
    assert not tasks[0].settings.without_exllama


def test_auto_gptq_on_a_cpu_is_told_to_do_without_exllama() -> None:
    (*_, gptq) = plan_kernels(on_cpu(torch="2.13.0", transformers="4.57.6", auto_gptq="0.7.1"))

    assert gptq.kind == "gptq"
    assert gptq.settings.without_exllama


def test_without_torch_there_is_nothing_but_llama_cpp(tmp_path: Path) -> None:
    case = case_of(None, torch=None, llama_cpp="xllamacpp")

    assert kinds(case) == []
    assert kinds(case, tmp_path / "m.gguf") == ["gguf"]
    assert kinds(case_of(None, torch=None, llama_cpp="llama-server"), tmp_path / "m.gguf") == []


def model(folder: Path, **quantization: object) -> ModelInfo:
    (folder / "config.json").write_text('{"hidden_size": 4096, "intermediate_size": 14336}')
    return ModelInfo(folder, ModelFormat.GPTQ, Quantization("gptq", "config.json", **quantization))


def test_a_model_gives_its_widths_and_its_quantization(tmp_path: Path) -> None:
    info = model(tmp_path, bits=8, group_size=64, is_act_order=True)

    (task, *others) = plan_kernels(replace(on_cpu(**MODERN), model=info))

    assert (task.settings.hidden, task.settings.intermediate) == (4096, 14336)
    assert (task.settings.bits, task.settings.group, task.settings.act_order) == (8, 64, True)
    assert [one.kind for one in others] == ["gptq"]  # int4pack is for 4 bits, AWQ another format


@pytest.mark.parametrize("group", [-1, 96, None])
def test_a_group_size_that_does_not_divide_is_replaced(tmp_path: Path, group: int | None) -> None:
    info = model(tmp_path, bits=3, group_size=group)

    (task, *_) = plan_kernels(replace(on_cpu(**MODERN), model=info))

    assert (task.settings.bits, task.settings.group) == (4, 128)


def test_a_narrow_model_gets_a_group_size_that_divides_its_widths(tmp_path: Path) -> None:
    info = model(tmp_path, bits=4, group_size=128)
    (tmp_path / "config.json").write_text('{"hidden_size": 576, "intermediate_size": 1536}')

    (task, *_) = plan_kernels(replace(on_cpu(**MODERN), model=info))

    assert (task.settings.hidden, task.settings.intermediate) == (576, 1536)
    assert task.settings.group == 64


def test_a_model_too_wide_for_the_memory_is_tried_in_smaller_widths(tmp_path: Path) -> None:
    info = model(tmp_path, bits=4, group_size=128)
    case = replace(on_cpu(**MODERN), model=info)
    small = replace(case, snapshot=replace(case.snapshot, ram_available_bytes=2**28))

    (fitting, *_) = plan_kernels(small)  # 4096 x 14336 in fp32 are 235 MB; 16 budgets 268 MB
    (tmp_path / "config.json").write_text('{"hidden_size": 8192, "intermediate_size": 28672}')
    (too_wide, *_) = plan_kernels(small)

    assert (fitting.settings.hidden, fitting.settings.intermediate) == (4096, 14336)
    assert (too_wide.settings.hidden, too_wide.settings.intermediate) == (2048, 5632)


@pytest.mark.parametrize(
    "text", ["{", "{}", '{"hidden_size": 100, "intermediate_size": 256}', "[]"]
)
def test_widths_that_cannot_be_had_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)

    assert read_widths(tmp_path) is None
    assert read_widths(tmp_path / "none") is None


def test_little_memory_gives_a_small_budget() -> None:
    small = replace(on_cpu(**MODERN), snapshot=from_mapping({"ram_available_bytes": 2**30}))
    case = replace(small, snapshot=replace(on_cpu(**MODERN).snapshot, ram_available_bytes=2**30))

    assert plan_kernels(case)[0].settings.budget_bytes == 2**25


# --- children -------------------------------------------------------------------------------


def run_with(folder: Path, torch_text: str | None, timeout_s: float = 30) -> KernelRun:
    if torch_text is not None:
        (folder / "torch.py").write_text(torch_text)
    snapshot = Snapshot(interpreter=Interpreter(sys.executable, "a test"))
    environ = {**os.environ, "PYTHONPATH": str(folder)}
    task = KernelTask("half", KernelSettings())
    (run,) = run_kernels(snapshot, [task], environ, timeout_s=timeout_s).kernel_runs or ()
    return run


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_kernel_that_crashes_is_contained(tmp_path: Path) -> None:
    run = run_with(tmp_path, SEGFAULT)

    assert run.ending is KernelEnding.CRASHED
    assert run.detail.startswith("SIGSEGV")


def test_a_kernel_that_hangs_is_given_up(tmp_path: Path) -> None:
    assert run_with(tmp_path, HANG, 0.5).ending is KernelEnding.HUNG


def test_what_a_kernel_raises_is_kept(tmp_path: Path) -> None:
    run = run_with(tmp_path, "raise RuntimeError('no kernel image is available')")

    assert run.ending is KernelEnding.RAISED
    assert run.detail.startswith("RuntimeError: no kernel image is available")


def test_an_environment_without_torch_says_so(tmp_path: Path) -> None:
    assert run_with(tmp_path, None).detail.startswith("ModuleNotFoundError")


def test_a_gpu_that_torch_does_not_see_is_no_reason_to_compute_elsewhere(tmp_path: Path) -> None:
    fake = (
        "def manual_seed(n): pass\n"
        "class device:\n    def __init__(self, name): self.type = name.partition(':')[0]\n"
        "class cuda:\n    is_available = staticmethod(lambda: False)\n"
    )
    (tmp_path / "torch.py").write_text(fake)
    snapshot = Snapshot(interpreter=Interpreter(sys.executable, "a test"))
    task = KernelTask("half", KernelSettings(device="cuda:0"))
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}

    (run,) = run_kernels(snapshot, [task], environ, timeout_s=30).kernel_runs or ()

    assert "torch.cuda.is_available() is False" in run.detail


def test_a_child_that_says_nothing_has_crashed() -> None:
    outcome = Outcome(Ending.EXITED, "ended with code 1", 1.0, {})

    run = run_of(KernelTask("gptq", KernelSettings()), outcome, Snapshot())

    assert (run.ending, run.detail) == (KernelEnding.CRASHED, "ended with code 1")


def test_the_best_copy_of_a_device_measures_all_its_runs() -> None:
    runs = (
        replace(HALF, bandwidth_bytes_per_s=1e9),
        replace(GPTQ, bandwidth_bytes_per_s=4e9),
        replace(GPTQ, device="cuda", bandwidth_bytes_per_s=3e11),
    )

    assert [run.bandwidth_bytes_per_s for run in with_best_bandwidth(runs)] == [4e9, 4e9, 3e11]


def test_runs_survive_a_round_trip_and_wrong_ones_are_left_out() -> None:
    snapshot = Snapshot(kernel_runs=(HALF, GPTQ))
    env = json.loads(json.dumps(to_mapping(snapshot)))

    assert from_mapping(env).kernel_runs == (HALF, GPTQ)
    assert from_mapping({"kernel_runs": [7, {"ending": "?"}]}).kernel_runs == ()


# --- findings and the table -----------------------------------------------------------------


def findings(*runs: KernelRun, goal: str | None = "gptq") -> dict[str, Finding]:
    """Return what is said of runs on a GPU, where transformers and gptqmodel do the work."""
    build = torch("2.13.0", "13.0", ["sm_86"])
    case = case_of(goal, dists=MODERN, torch=build, gpus=[RTX_3090], driver="580.65.06")
    case = replace(case, snapshot=replace(case.snapshot, kernel_runs=runs))
    return {one.code: one for one in diagnose(case) if one.code.startswith("KERNEL")}


def test_good_runs_are_no_finding() -> None:
    assert findings(HALF, GPTQ) == {}


@pytest.mark.parametrize("error", [0.7, float("nan")])
def test_a_kernel_that_computes_wrongly_is_an_error(error: float) -> None:
    run = from_mapping(
        {"kernel_runs": [{**to_mapping_of(GPTQ), "relative_error": error}]}
    ).kernel_runs

    (finding,) = findings(*(run or ())).values()

    assert (finding.code, finding.severity) == ("KERNEL-WRONG", "error")


def to_mapping_of(run: KernelRun) -> dict[str, object]:
    (one,) = to_mapping(Snapshot(kernel_runs=(run,)))["kernel_runs"]
    return dict(one)


def test_a_kernel_that_crawls_is_a_warning() -> None:
    crawling = replace(GPTQ, seconds_per_call=0.02)

    (finding,) = findings(HALF, crawling).values()

    assert (finding.code, finding.severity) == ("KERNEL-SLOW", "warning")
    assert "20 times" in finding.title


@pytest.mark.parametrize(
    ("goal", "severity"), [("gptq", "error"), ("bnb", "info"), (None, "error")]
)
def test_a_kernel_that_fails_is_an_error_where_it_is_needed(
    goal: str | None, severity: str
) -> None:
    failed = KernelRun("gptq", KernelEnding.RAISED, detail="RuntimeError: no kernel image")

    finding = findings(HALF, failed, goal=goal)["KERNEL-FAILS"]

    assert finding.severity == severity
    assert "no kernel image" in finding.title


def test_a_table_shows_error_time_and_share_of_the_bandwidth() -> None:
    lines = [line.text for line in kernel_lines((HALF, GPTQ))]

    (row,) = [line for line in lines if "Marlin" in line]
    # 520 bytes in 0.5 ms are 1.04 MB/s, a quarter of the 4 MB/s measured.
    assert row.split()[-6:] == ["0.30%", "500", "µs", "0.00104", "GB/s", "26%"]
    assert "  all of it on the CPU" in lines


def test_a_gpu_that_computed_is_named() -> None:
    on_gpu = replace(GPTQ, device="cuda", device_name="Tesla T4")

    lines = [line.text for line in kernel_lines((on_gpu,))]

    assert "  the GPU computes: measured on the Tesla T4" in lines


def test_decoding_is_told_in_tokens() -> None:
    run = KernelRun("gguf", KernelEnding.MEASURED, "llama.cpp", "ggml", "cpu", is_token=True,
                    seconds_per_call=0.02, model="tiny.gguf")  # fmt: skip
    text = "\n".join(line.text for line in kernel_lines((run,)))

    assert "decodes tiny.gguf at 50 tokens/s here" in text
    assert "cpu     not compared" in text


@pytest.mark.parametrize(
    ("tokens_per_s", "mark", "is_said"), [(90, "✓", False), (60, "✓", False), (4, "!", True)]
)
def test_decoding_far_below_the_estimate_is_no_good_sign(
    tokens_per_s: float, mark: str, is_said: bool
) -> None:
    case = case_of(gpus=[], driver=None, cpu={"n_cores": 2}, memory_bandwidth_bytes_per_s=3e10)
    run = KernelRun("gguf", KernelEnding.MEASURED, "llama.cpp", "ggml", "cpu", is_token=True,
                    seconds_per_call=1 / tokens_per_s, bytes_per_call=100_000_000)  # fmt: skip
    expected = expected_of_run(case, run)
    assert expected == 90.0  # 4.5 GB/s a core

    lines = [line.text for line in kernel_lines((run,), case)]

    assert any(line.startswith(f"  {mark} gguf: llama.cpp") for line in lines)
    assert any("less than half of what is expected" in line for line in lines) is is_said


def test_a_kernel_runs_with_the_waiting_of_the_engines() -> None:
    assert SPIN_COUNT == llama_cpp_server.SPIN_COUNT


def test_a_failed_run_is_marked() -> None:
    failed = KernelRun("awq", KernelEnding.HUNG, detail="no end within 5 s; killed")

    assert any(line.text.startswith("  ✗ awq: hung") for line in kernel_lines((failed,)))


def test_the_table_can_be_had_in_chinese() -> None:
    lines = [line.text for line in translated(kernel_lines((HALF, GPTQ)), Language.CHINESE)]

    assert "  全部在 CPU 上" in lines
    header = next(
        line for line in kernel_lines((HALF,), None, Language.CHINESE) if "耗时" in line.text
    )
    assert header.text.split() == ["内核", "设备", "误差", "一次耗时", "读取", "占内存带宽"]
