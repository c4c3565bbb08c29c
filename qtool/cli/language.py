"""The language of reports: flag, ``QTOOL_LANG``, ``ui.lang``, else the user's locale."""

import os

from qtool.config import AUTOMATIC, Config
from qtool.doctor.translation import Language, language_of


def choose_language(flag: Language | None) -> Language:
    """Return the language that is asked for."""
    wanted = Config().get("ui.lang", flag)
    return language_of(os.environ) if wanted == AUTOMATIC else Language(wanted)
