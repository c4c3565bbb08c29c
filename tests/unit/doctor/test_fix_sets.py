"""Every fix of every finding is a consistent set: no command undoes another, nothing is broken."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from packaging.requirements import Requirement

from qtool.doctor import facts
from qtool.doctor.case import Case, make_case
from qtool.doctor.commands import companion
from qtool.doctor.diagnosis import diagnose
from qtool.doctor.finding import Finding, Fix, Goal, Severity
from qtool.doctor.foresight import foresee, harm_of
from qtool.doctor.snapshot import TorchBuild
from qtool.doctor.snapshot_reader import from_mapping
from qtool.doctor.steps import Step, parse_step
from qtool.doctor.versions import is_within
from tests.unit.doctor.machines import (
    AWQ_MODULES,
    GPTQ_MODULES,
    LINUX,
    RTX_3090,
    RTX_5090,
    T4,
    V100,
    WINDOWS,
    machine,
)
from tests.unit.doctor.test_public_cases import CASES

P40 = {"name": "Tesla P40", "cc": "6.1", "vram_mib": 24576}
GTX_980 = {"name": "NVIDIA GeForce GTX 980", "cc": "5.2", "vram_mib": 4096}
CUDA_ARCHS = {"12.1": ["sm_50", "sm_70", "sm_80", "sm_86", "sm_90"], "11.8": ["sm_50", "sm_80"],
              "12.8": ["sm_70", "sm_80", "sm_90", "sm_120"],
              "13.0": ["sm_75", "sm_90", "sm_120"]}  # fmt: skip
RELEASES = facts.fact("releases", "known")
PYTHON = {"path": "/env/bin/python"}
CURED_BY_VERSIONS = {
    *("PIP-CONFLICT", "NUMPY2-WITH-OLD-TORCH", "TORCHVISION-MISMATCH", "AWQ-TRANSFORMERS-TOO-NEW"),
    *("GPTQ-TF5-NEEDS-NEWER-GPTQMODEL", "GPTQ-TRANSFORMERS-TOO-OLD-FOR-GPTQMODEL"),
    *("GPTQ-OPTIMUM-MISMATCH", "ENGINE-MISSING", "TORCH-MISSING"),
}
"""Findings that follow from installed versions alone, so that a fix can be held against them."""


@st.composite
def environments(draw: st.DrawFn) -> dict[str, Any]:
    """A machine as there are: some GPUs, a torch with its CUDA, some packages at some release."""
    dists = draw(
        st.fixed_dictionaries(
            {}, optional={name: st.sampled_from(releases) for name, releases in RELEASES.items()}
        )
    )
    cuda = draw(st.sampled_from([None, *CUDA_ARCHS]))
    torch = None
    if "torch" in dists:
        torch = {
            "version": dists["torch"],
            "cuda": cuda,
            "arch_list": CUDA_ARCHS.get(cuda or "", []),
        }
        if draw(st.booleans()):
            dists["torchvision"] = draw(st.sampled_from(["0.15.2", "0.17.2", "0.21.0", "0.25.0"]))
    gpus = draw(st.lists(st.sampled_from([T4, V100, RTX_3090, RTX_5090, P40, GTX_980]), max_size=2))
    extension_files = {
        "auto-gptq": draw(st.sampled_from([[], GPTQ_MODULES])),
        "autoawq-kernels": AWQ_MODULES,
    }
    return machine(
        dists=dists,
        torch=torch,
        gpus=gpus,
        driver=draw(st.sampled_from([None, "470.1", "550.54", "580.65.06"])) if gpus else None,
        python=draw(st.sampled_from(["3.9.19", "3.10.14", "3.11.9", "3.12.4", "3.13.1"])),
        os=draw(st.sampled_from([LINUX, LINUX, WINDOWS])),
        nvcc=draw(st.sampled_from([None, "12.1", "12.8"])),
        ext_files={name: files for name, files in extension_files.items() if name in dists},
        interpreter=PYTHON,
    )


GOALS = st.none() | st.sampled_from(list(Goal))


def steps_of(case: Case, fix: Fix) -> tuple[Step, ...]:
    """The steps that pip carries out; the others (a toolkit, a reboot) leave packages alone."""
    parsed = (
        parse_step(command, PYTHON["path"], is_windows=case.is_windows) for command in fix.commands
    )
    return tuple(step for step in parsed if step)


def conflicts(dists: dict[str, str]) -> set[tuple[str, str]]:
    """(holder, package) of every requirement that is not met, by the facts alone."""
    found = set()
    for row in facts.fact("requirements", "declared"):
        if not is_within(dists.get(row["package"]), row["versions"]):
            continue
        if row["package"] == "autoawq-kernels":
            continue  # what they declare is not so: their symbols decide
        for line in map(Requirement, row["requires"]):
            if line.name in dists and not is_within(dists[line.name], str(line.specifier)):
                found.add((row["package"], line.name))
    if is_within(dists.get("torch"), "<2.3") and is_within(dists.get("numpy"), ">=2"):
        found.add(("torch", "numpy"))
    wanted = companion("torchvision", dists.get("torch", ""))
    has = dists.get("torchvision", wanted)
    if wanted and has and has.split(".")[:2] != wanted.split(".")[:2]:
        found.add(("torchvision", "torch"))
    return found


def contradictions(steps: tuple[Step, ...]) -> list[str]:
    """Packages that a later step removes, or asks for otherwise, than an earlier one has."""
    wishes: dict[str, str] = {}
    found = []
    for step in steps:
        for name, versions in step.packages.items():
            if step.verb == "uninstall" and name in wishes:
                found.append(f"{name} is installed, then removed")
            elif step.verb == "install":
                both = ",".join(filter(None, (wishes.get(name, ""), versions)))
                if (
                    name in RELEASES
                    and both
                    and not any(
                        is_within(one, both) for one in (*RELEASES[name], versions.lstrip("="))
                    )
                ):
                    found.append(f"{name}: {both}")
                wishes[name] = both
    return found


@settings(max_examples=150)
@given(env=environments(), goal=GOALS)
def test_every_fix_is_a_consistent_set(env: dict[str, Any], goal: Goal | None) -> None:
    case = make_case(from_mapping(env), goal)
    before = conflicts(env["dists"])
    for finding in diagnose(case):
        for fix in finding.fixes:
            steps = steps_of(case, fix)
            assert contradictions(steps) == [], (finding.code, fix)
            if not steps:
                continue
            event(finding.code)
            after = foresee(case, steps, env["dists"])
            broken = conflicts(after) - before
            assert not broken, (finding.code, fix.title, fix.commands, broken, after)


@settings(max_examples=150)
@given(env=environments(), goal=GOALS)
def test_a_fix_cures_what_it_is_for(env: dict[str, Any], goal: Goal | None) -> None:
    case = make_case(from_mapping(env), goal)
    for finding in diagnose(case):
        if finding.code not in CURED_BY_VERSIONS or finding.severity is not Severity.ERROR:
            continue
        for fix in finding.fixes:
            steps = steps_of(case, fix)
            if not steps:
                continue
            event(finding.code)
            left = after_the_fix(case, steps)
            assert not is_there(finding, left), (finding.code, fix.title, fix.commands, left)


def after_the_fix(case: Case, steps: tuple[Step, ...]) -> tuple[Finding, ...]:
    """Diagnose the machine as it is after ``steps``, its compiled modules not looked at again."""
    snapshot = case.snapshot
    assert isinstance(snapshot.dists, dict)
    dists = foresee(case, steps, snapshot.dists)
    torch = TorchBuild(version=dists["torch"]) if "torch" in dists else None
    if snapshot.torch and dists.get("torch") == snapshot.dists.get("torch"):
        torch = snapshot.torch
    return diagnose(
        replace(case, snapshot=replace(snapshot, dists=dists, torch=torch, ext_files={}))
    )


def is_there(finding: Finding, findings: tuple[Finding, ...]) -> bool:
    return any(
        one.code == finding.code and one.severity is Severity.ERROR and one.title == finding.title
        for one in findings
    )


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_the_fixes_of_the_public_cases_are_consistent(case: dict[str, Any]) -> None:
    env = {**case["env"], "interpreter": PYTHON}
    one = make_case(from_mapping(env), Goal(case["goal"]))
    before = conflicts(env["dists"])
    for finding in diagnose(one):
        for fix in finding.fixes:
            steps = steps_of(one, fix)
            assert contradictions(steps) == []
            after = foresee(one, steps, env["dists"])
            assert not conflicts(after) - before, (finding.code, fix)


# --- foresight itself: otherwise the tests above could not fail ------------------------------

GOOD = {"torch": "2.10.0", "transformers": "5.14.0", "gptqmodel": "7.6.0", "numpy": "2.2.6"}


def harm(*commands: str, dists: dict[str, str] = GOOD) -> set[tuple[str, str]]:
    case = make_case(from_mapping(machine(dists=dists, interpreter=PYTHON)))
    lines = tuple(f"{PYTHON['path']} -m pip {command}" for command in commands)
    return set(harm_of(case, Fix("", lines)))


def test_a_downgrade_that_another_package_forbids_is_harm() -> None:
    assert conflicts(GOOD) == set()
    assert harm("install numpy==1.26.4") == {("gptqmodel", "numpy")}
    assert harm("install --no-deps torch==2.6.0") == {("gptqmodel", "torch")}
    assert harm("install numpy==2.2.6") == set()


def test_what_is_removed_needs_nothing_any_more() -> None:
    assert harm("uninstall -y gptqmodel", "install numpy==1.26.4") == set()


def test_pip_moves_what_the_named_packages_declare() -> None:
    old = {"torch": "2.10.0", "transformers": "4.51.3", "numpy": "1.26.4"}

    assert harm('install "gptqmodel>=7,<7.7"', dists=old) == set()
    assert harm('install --no-deps "gptqmodel>=7,<7.7"', dists=old) == {
        ("gptqmodel", "transformers"),
        ("gptqmodel", "numpy"),
    }


def test_torch_alone_leaves_its_companions_behind() -> None:
    dists = {"torch": "2.5.1", "torchvision": "0.20.1"}

    assert harm('install "torch>=2.8,<2.11"', dists=dists) == {("torchvision", "torch")}
    assert harm('install --upgrade "torch>=2.8,<2.11" torchvision', dists=dists) == set()


def test_what_nobody_can_have_is_harm() -> None:
    ((holder, why),) = harm('install "transformers>=99"')

    assert (holder, why) == ("pip", "transformers>=99")


def test_a_harmful_fix_is_not_offered() -> None:
    dists = {"torch": "2.6.0", "autoawq": "0.2.9", "transformers": "4.57.6", "gptqmodel": "5.6.12",
             "numpy": "2.2.6"}  # fmt: skip
    env = machine(dists=dists, torch={"version": "2.6.0", "cuda": "12.4"}, interpreter=PYTHON)

    findings = diagnose(make_case(from_mapping(env), Goal.AWQ))

    text = "\n".join(c for f in findings for fix in f.fixes for c in fix.commands)
    assert "transformers==4.56.2" not in text  # gptqmodel 5.6 wants 4.57.1
