"""A diagnosis in Chinese: all of its words, and none of its codes, evidence and commands."""

import re
from typing import Any

import pytest

from qtool.doctor.case import make_case
from qtool.doctor.diagnosis import diagnose
from qtool.doctor.finding import Goal
from qtool.doctor.goals import answer_goal
from qtool.doctor.lines import translated
from qtool.doctor.markdown import markdown_lines
from qtool.doctor.report import report_lines
from qtool.doctor.snapshot_reader import from_mapping
from qtool.doctor.verdict import judge
from qtool.language.message import Message
from qtool.language.translation import Language, translate
from tests.unit.doctor.machines import machine
from tests.unit.doctor.test_public_cases import ALL_CASES

HAN = re.compile(r"[\u4e00-\u9fff]")


@pytest.mark.parametrize("case", ALL_CASES, ids=[case["id"] for case in ALL_CASES])
def test_nothing_of_a_diagnosis_stays_english(case: dict[str, Any]) -> None:
    """Every title and explanation of findings, cures, verdicts and answers is a message."""
    one = make_case(from_mapping(case["env"]), Goal(case["goal"]))
    findings, verdict = diagnose(one), judge(one)
    answer = answer_goal(one, findings)
    assert answer is not None
    texts = [answer.sentence, *answer.notes]
    for finding in findings:
        texts += [finding.title, finding.explanation, *(fix.title for fix in finding.fixes)]
    for entry in verdict.values():
        texts += [entry.why, *entry.notes, *(fix.title for fix in entry.cures)]

    assert [text for text in texts if not isinstance(text, Message)] == []
    assert [text for text in texts if not HAN.search(translate(text, Language.CHINESE))] == []


def report(case: dict[str, Any], language: Language) -> str:
    one = make_case(from_mapping(case["env"]), Goal(case["goal"]))
    findings, verdict = diagnose(one), judge(one)
    lines = report_lines(one, findings, verdict, answer_goal(one, findings))
    return "\n".join(line.text for line in translated(lines, language))


def test_codes_evidence_and_commands_stay_as_they_are() -> None:
    case = ALL_CASES[0]
    english, chinese = (report(case, language) for language in Language)

    assert "\n1 个错误\n" in chinese
    assert "GPTQ-KERNELS-ABI" in chinese
    assert "undefined symbol: _ZN3c104cuda9SetDeviceEi" in chinese
    assert commands_in(english) == commands_in(chinese)


def commands_in(text: str) -> list[str]:
    """Return the lines of commands but for remarks, which are translated."""
    lines = [line for line in text.splitlines() if line.startswith("      ")]
    return [line for line in lines if not line.lstrip().startswith("#")]


def test_remarks_among_commands_and_punctuation_are_chinese() -> None:
    one = make_case(from_mapping(machine(gpus=[], llama_cpp="xllamacpp")), Goal.GPTQ)
    lines = report_lines(one, diagnose(one), judge(one), answer_goal(one, diagnose(one)))
    text = "\n".join(line.text for line in translated(lines, Language.CHINESE))

    assert "# 然后用 `qtool download`" in text
    assert "ENGINE-MISSING：" in text
    assert "没有 torch，没有 NVIDIA GPU" in text


def test_the_chinese_of_a_finding_has_its_values() -> None:
    chinese = report(ALL_CASES[0], Language.CHINESE)

    assert "auto-gptq 的内核是有的，但在 torch 2.3.1+cu121 上加载不了" in chinese


def test_markdown_is_translated_as_well() -> None:
    one = make_case(from_mapping(ALL_CASES[0]["env"]), Goal.GPTQ)

    text = "\n".join(markdown_lines(one, diagnose(one), judge(one), Language.CHINESE))

    assert "| 目标 | gptq |" in text
    assert "- 依据: " in text
    assert "<details><summary>snapshot</summary>" in text
