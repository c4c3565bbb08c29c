"""Situations, and the diagnosis that each must get: real ones from public issue threads
(``cases.json``), and others that follow from the facts (``more_cases.json``)."""

import json
from pathlib import Path
from typing import Any

import pytest

from qtool.doctor.case import make_case
from qtool.doctor.diagnosis import diagnose
from qtool.doctor.finding import Confidence, Finding, Goal, Severity
from qtool.doctor.snapshot_reader import from_mapping
from qtool.doctor.snapshot_writer import to_mapping

DATA = Path(__file__).parent / "data"
CASES = json.loads((DATA / "cases.json").read_text())["cases"]
MORE_CASES = json.loads((DATA / "more_cases.json").read_text())["cases"]
ALL_CASES = CASES + MORE_CASES

each_case = pytest.mark.parametrize("case", ALL_CASES, ids=[case["id"] for case in ALL_CASES])


def diagnosis(case: dict[str, Any]) -> tuple[Finding, ...]:
    return diagnose(make_case(from_mapping(case["env"]), Goal(case["goal"])))


def expected_findings(case: dict[str, Any]) -> list[Finding]:
    return [f for f in diagnosis(case) if f.code in case["expected"]["codes"]]


@each_case
def test_every_expected_code_is_found(case: dict[str, Any]) -> None:
    found = {finding.code for finding in diagnosis(case)}

    assert found >= set(case["expected"]["codes"])


@each_case
def test_no_other_error_is_reported(case: dict[str, Any]) -> None:
    errors = {f.code for f in diagnosis(case) if f.severity is Severity.ERROR}

    assert errors <= set(case["expected"]["codes"])


@each_case
def test_the_explanation_says_what_it_must(case: dict[str, Any]) -> None:
    text = "\n".join(finding.explanation for finding in expected_findings(case))

    assert [t for t in case["expected"]["explanation_must_mention"] if t not in text] == []


@each_case
def test_a_command_does_what_helped(case: dict[str, Any]) -> None:
    fixes = [fix for finding in expected_findings(case) for fix in finding.fixes]
    commands = "\n".join(command for fix in fixes for command in fix.commands)

    wanted = case["expected"]["fix_must_contain_any"]
    assert not wanted or any(text in commands for text in wanted)


@pytest.mark.parametrize("case", MORE_CASES, ids=[case["id"] for case in MORE_CASES])
def test_a_warning_is_one_that_is_expected(case: dict[str, Any]) -> None:
    """Besides what is said of a driver for CUDA 11, and of what the user might do next."""
    said = {
        finding.code
        for finding in diagnosis(case)
        if finding.severity is Severity.WARNING and finding.confidence is not Confidence.POSSIBLE
    }

    assert said - set(case["expected"]["codes"]) <= {"DRV-LIMITS-TO-CUDA11", "ENGINE-MISSING"}


@each_case
def test_no_fix_says_what_would_harm(case: dict[str, Any]) -> None:
    fixes = [fix for finding in diagnosis(case) for fix in finding.fixes]
    text = "\n".join(line for fix in fixes for line in (fix.title, *fix.commands))

    assert [t for t in case["expected"]["fix_must_not_contain"] if t in text] == []


@each_case
def test_no_finding_comes_without_evidence(case: dict[str, Any]) -> None:
    assert [f.code for f in diagnosis(case) if not f.evidence] == []


@each_case
def test_the_diagnosis_survives_writing_and_reading_the_snapshot(case: dict[str, Any]) -> None:
    snapshot = from_mapping(case["env"])

    again = from_mapping(json.loads(json.dumps(to_mapping(snapshot))))

    goal = Goal(case["goal"])
    assert diagnose(make_case(again, goal)) == diagnose(make_case(snapshot, goal))
