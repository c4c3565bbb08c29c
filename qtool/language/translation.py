"""Texts in another language: catalogues in a folder of its name, keyed by the English templates.

What has no entry stays English: names, versions, evidence, commands, and codes.
"""

from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from typing import Any

from qtool.language.message import Message

_LOCALE_VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")
"""The first that is set decides, as POSIX has it for messages."""


class Language(StrEnum):
    """A language that the program speaks."""

    ENGLISH = "en"
    CHINESE = "zh"


def language_of(environ: Mapping[str, str]) -> Language:
    """Return the language of the user's locale, English where there is no other."""
    name = next((environ[name] for name in _LOCALE_VARIABLES if environ.get(name)), "")
    return Language.CHINESE if name.lower().startswith("zh") else Language.ENGLISH


@cache
def load_catalogue(language: Language) -> Mapping[str, str]:
    """Return the templates of a language by the English ones; English itself has none."""
    import json
    from importlib.resources import files

    if language is Language.ENGLISH:
        return {}
    catalogue: dict[str, str] = {}
    for file in files("qtool.language").joinpath(language.value).iterdir():
        groups: Mapping[str, Mapping[str, str]] = json.loads(file.read_text(encoding="utf-8"))
        for group in groups.values():
            catalogue |= group
    return catalogue


def translate(text: str, language: Language) -> str:
    """Return ``text`` in ``language``, with the values that it was made with."""
    if language is Language.ENGLISH:
        return str(text)
    catalogue = load_catalogue(language)
    if not isinstance(text, Message):
        return catalogue.get(text, text)
    values = {name: _translated(value, language) for name, value in text.values.items()}
    if text.template is None:
        return "".join(str(value) for value in values.values())
    return catalogue.get(text.template, text.template).format_map(values)


def _translated(value: Any, language: Language) -> Any:
    return translate(value, language) if isinstance(value, str) else value
