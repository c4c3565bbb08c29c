"""Every text that is said anywhere in the program has its Chinese, with the same values in it."""

import ast
import json
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

import qtool
from qtool.doctor import facts
from qtool.envs.recipes import load_recipes
from qtool.language.translation import Language, load_catalogue

PACKAGE = Path(qtool.__file__).parent
CHINESE = load_catalogue(Language.CHINESE)


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every ``say(…)`` in the program, and where it stands."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "say":
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node


def template_of(call: ast.Call, place: str) -> str:
    (template,) = call.args
    assert isinstance(template, ast.Constant), f"{place}: no literal"
    return str(template.value)


def fields(template: str) -> set[tuple[str, str]]:
    found = string.Formatter().parse(template)
    return {(name, form or "") for _, name, form, _ in found if name is not None}


def words_of_data() -> set[str]:
    """English words that stand in files of data and get into texts."""
    rows = [
        *facts.fact("auto_gptq", "loads_on_torch"),
        *facts.fact("autoawq", "loads_on_torch"),
        *facts.fact("flash_attn", "symbols"),
        facts.fact("autoawq", "kernel_capabilities"),
    ]
    why = {row["why"] for row in facts.fact("autoawq", "broken_by_transformers")}
    summaries = {recipe.summary for recipe in load_recipes().values()}
    return {row["words"] for row in rows} | why | summaries


SAID = {template_of(call, place) for place, call in calls()}


def test_every_template_gets_the_values_it_names() -> None:
    """What is said rarely fails only on the machine that it is about: so read the calls."""
    wrong = []
    for place, call in calls():
        template = template_of(call, place)
        if {word.arg for word in call.keywords} != {name for name, _ in fields(template)}:
            wrong.append(f"{place}: {template}")

    assert wrong == []


def test_every_text_has_its_chinese() -> None:
    assert sorted((SAID | words_of_data()) - set(CHINESE)) == []


def test_no_chinese_is_left_over() -> None:
    assert sorted(set(CHINESE) - SAID - words_of_data()) == []


@pytest.mark.parametrize("template", sorted(CHINESE))
def test_the_same_values_are_filled_in(template: str) -> None:
    assert fields(CHINESE[template]) == fields(template)


def test_a_template_stands_in_one_place_only() -> None:
    files = PACKAGE.joinpath("language", "zh").glob("*.json")
    groups = [json.loads(file.read_text(encoding="utf-8")).values() for file in files]
    names = [name for file in groups for group in file for name in group]

    assert sorted(names) == sorted(set(names))
