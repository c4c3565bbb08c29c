"""Every text of the doctor has its Chinese, with the same values in it."""

import ast
import json
import pickle
import re
import string
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

import qtool.doctor
from qtool.doctor import facts
from qtool.doctor.case import make_case
from qtool.doctor.diagnosis import diagnose
from qtool.doctor.finding import Goal
from qtool.doctor.goals import answer_goal
from qtool.doctor.markdown import markdown_lines
from qtool.doctor.message import Message, say, together
from qtool.doctor.report import report_lines
from qtool.doctor.snapshot_reader import from_mapping
from qtool.doctor.translation import (
    Language,
    language_of,
    load_catalogue,
    translate,
    translated,
)
from qtool.doctor.verdict import judge
from tests.unit.doctor.machines import machine
from tests.unit.doctor.test_public_cases import ALL_CASES

FOLDER = Path(qtool.doctor.__file__).parent
CHINESE = load_catalogue(Language.CHINESE)
HAN = re.compile(r"[\u4e00-\u9fff]")


def templates() -> Iterator[str]:
    """Every template that is said anywhere in the doctor."""
    for path in (*FOLDER.rglob("*.py"), *FOLDER.parent.joinpath("cli").glob("doctor*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "say":
                template = node.args[0]
                assert isinstance(template, ast.Constant), f"{path}:{node.lineno}: no literal"
                yield template.value


def test_every_template_gets_the_values_it_names() -> None:
    """What is said rarely fails only on the machine that it is about: so read the calls."""
    wrong = []
    for path in (*FOLDER.rglob("*.py"), *FOLDER.parent.joinpath("cli").glob("doctor*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "say":
                (template,) = node.args
                assert isinstance(template, ast.Constant)
                given = {word.arg for word in node.keywords}
                if given != {name for name, _ in fields(template.value)}:
                    wrong.append(f"{path.name}:{node.lineno}: {template.value}")

    assert wrong == []


def words_of_facts() -> set[str]:
    """English words that are facts and get into texts."""
    rows = [
        *facts.fact("auto_gptq", "loads_on_torch"),
        *facts.fact("autoawq", "loads_on_torch"),
        *facts.fact("flash_attn", "symbols"),
        facts.fact("autoawq", "kernel_capabilities"),
    ]
    why = {row["why"] for row in facts.fact("autoawq", "broken_by_transformers")}
    return {row["words"] for row in rows} | why


def fields(template: str) -> set[tuple[str, str]]:
    found = string.Formatter().parse(template)
    return {(name, form or "") for _, name, form, _ in found if name is not None}


SAID = sorted(set(templates()))


def test_every_text_has_its_chinese() -> None:
    assert sorted((set(SAID) | words_of_facts()) - set(CHINESE)) == []


def test_no_chinese_is_left_over() -> None:
    assert sorted(set(CHINESE) - set(SAID) - words_of_facts()) == []


@pytest.mark.parametrize("template", sorted(CHINESE))
def test_the_same_values_are_filled_in(template: str) -> None:
    assert fields(CHINESE[template]) == fields(template)


def test_a_template_stands_in_one_group_only() -> None:
    groups = json.loads((FOLDER / "messages" / "zh.json").read_text(encoding="utf-8"))
    names = [name for group in groups.values() for name in group]

    assert sorted(names) == sorted(set(names))


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

    assert "1 个错误：" in chinese or "1 个错误: " in chinese
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


@pytest.mark.parametrize(
    ("environ", "language"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_TW"}, "zh"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "zh_CN"}, "zh"),
        ({"LANG": "zh_CN", "LC_ALL": ""}, "zh"),
    ],
)
def test_the_locale_tells_the_language(environ: dict[str, str], language: str) -> None:
    assert language_of(environ) == language


# --- messages -------------------------------------------------------------------------------


def test_a_message_is_its_english_text() -> None:
    message = say("torch {torch} is a vendor's own build", torch="2.5")

    assert message == "torch 2.5 is a vendor's own build"
    assert json.dumps([message]) == '["torch 2.5 is a vendor\'s own build"]'


@pytest.mark.parametrize("copy", [deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_a_copy_can_still_be_translated(copy: Any) -> None:
    message = copy(say("torch {torch} is a vendor's own build", torch="2.5"))

    assert translate(message, Language.CHINESE) == "torch 2.5 是厂商自己编译的版本"


def test_messages_within_messages_are_translated() -> None:
    message = together(("a", say("no torch") + say(" and "), "b"), ", ")

    assert message == "a, no torch and , b"
    assert translate(message, Language.CHINESE) == "a，没有 torch 和 ，b"


def test_what_has_no_translation_stays_english() -> None:
    assert translate("xyz", Language.CHINESE) == "xyz"
    unknown = Message("1 thing", "{n} thing", {"n": 1})
    assert translate(unknown, Language.CHINESE) == "1 thing"
