"""The language to speak: ``--lang``, ``QTOOL_LANG``, ``ui.lang``, else the user's locale."""

import os
from collections.abc import Sequence

from qtool.config import AUTOMATIC, Config
from qtool.errors import QtoolError
from qtool.language.translation import Language, language_of


def choose_language(flag: Language | None) -> Language:
    """Return the language that is asked for."""
    wanted = Config().get("ui.lang", flag)
    return language_of(os.environ) if wanted == AUTOMATIC else Language(wanted)


def language_for(arguments: Sequence[str]) -> Language:
    """Return the language for a failure, from arguments that may not have been parsed."""
    joined = "\0".join(arguments)
    flags = [one for one in Language if f"--lang\0{one}" in joined or f"--lang={one}" in joined]
    try:
        return choose_language(flags[0] if flags else None)
    except QtoolError:
        return Language.ENGLISH
