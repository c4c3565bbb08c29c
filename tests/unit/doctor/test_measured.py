"""Verdicts after --deep and --run: what was seen outweighs what versions promise."""

from dataclasses import replace

import pytest

from qtool.doctor.case import Case
from qtool.doctor.snapshot import ImportAttempt, ImportEnding, KernelEnding, KernelRun
from qtool.doctor.verdict import FormatVerdict, judge_format
from qtool.models.info import ModelFormat
from tests.unit.doctor.machines import RTX_3090, case_of, torch
from tests.unit.doctor.test_kernel_runs import GPTQ, MODERN

CRASHED = ImportAttempt(ImportEnding.CRASHED, "SIGSEGV (segmentation fault)")
GOOD = ImportAttempt(ImportEnding.IMPORTED)
FAILED = KernelRun("gptq", KernelEnding.RAISED, detail="RuntimeError: no kernel image")


def on_gpu(**fields: object) -> Case:
    case = case_of(None, dists=MODERN, torch=torch("2.13.0", "13.0", ["sm_86"]), gpus=[RTX_3090],
                   driver="580.65.06")  # fmt: skip
    return replace(case, snapshot=replace(case.snapshot, **fields))


def gptq(case: Case) -> FormatVerdict:
    return judge_format(case, ModelFormat.GPTQ)


def test_without_looking_the_versions_speak() -> None:
    assert gptq(on_gpu()).runs


@pytest.mark.parametrize("module", ["torch", "transformers", "gptqmodel"])
def test_a_module_that_does_not_import_refuses_what_needs_it(module: str) -> None:
    verdict = gptq(on_gpu(imports={module: CRASHED}))

    assert not verdict.runs
    assert verdict.why == f"import {module} fails: SIGSEGV (segmentation fault)"


def test_modules_that_import_change_nothing() -> None:
    assert gptq(on_gpu(imports={"torch": GOOD, "gptqmodel": GOOD, "awq": CRASHED})).runs


def test_a_kernel_that_failed_refuses_its_format_only() -> None:
    case = on_gpu(kernel_runs=(FAILED,))

    assert "no kernel image" in gptq(case).why
    assert judge_format(case, ModelFormat.AWQ).runs


def test_a_kernel_that_computes_wrongly_refuses_its_format() -> None:
    verdict = gptq(on_gpu(kernel_runs=(replace(GPTQ, relative_error=0.7),)))

    assert (verdict.runs, verdict.why) == (False, "its kernel was run here and computes wrongly")


def test_a_kernel_that_was_measured_changes_nothing() -> None:
    assert gptq(on_gpu(kernel_runs=(GPTQ,))).runs


def test_llama_cpp_does_not_care_for_torch() -> None:
    case = on_gpu(imports={"torch": CRASHED}, kernel_runs=(replace(FAILED, kind="half"),))
    case = replace(case, snapshot=replace(case.snapshot, llama_cpp="xllamacpp"))

    assert judge_format(case, ModelFormat.GGUF).runs


def test_on_a_cpu_it_is_torchs_own_kernel_that_counts() -> None:
    """qtool's own loader runs GPTQ there, whatever becomes of gptqmodel."""
    case = case_of(None, dists=MODERN, torch={"version": "2.13.0", "cuda": None}, gpus=[])
    gptqmodel = replace(case, snapshot=replace(case.snapshot, kernel_runs=(FAILED,)))
    int4 = (replace(FAILED, kind="int4pack"),)

    assert gptq(gptqmodel).runs
    assert not gptq(replace(case, snapshot=replace(case.snapshot, kernel_runs=int4))).runs
