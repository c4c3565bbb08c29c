"""Texts that remember how they were made, and their translation."""

import json
import pickle
from copy import deepcopy
from typing import Any

import pytest

from qtool.language.message import Message, say, together
from qtool.language.translation import Language, language_of, translate


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
