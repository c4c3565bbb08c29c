"""Take a person's traces out of a snapshot before it is sent away."""

import re
from collections.abc import Callable
from typing import Any

_FOLDERS_OF_PEOPLE = re.compile(r"(/home/|/Users/|[A-Za-z]:\\+Users\\+)[^/\\:;\"']+")
_PIECE = r"(?<![A-Za-z0-9_-]){}(?![A-Za-z0-9_-])"


def redact(value: Any, *, home: str, host: str, user: str) -> Any:
    """Return JSON values with home folder, host and user name replaced in every text.

    ``home`` becomes ``~``; other people's home folders lose their names as well.
    """
    return _mapped(value, lambda text: _redact_text(text, home, host, user))


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(str(key)): _mapped(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_mapped(item, change) for item in value]
    return value


def _redact_text(text: str, home: str, host: str, user: str) -> str:
    if len(home) > 1:
        text = re.sub(re.escape(home) + r"(?=$|[/\\:;\"'\s])", "~", text)
    text = _FOLDERS_OF_PEOPLE.sub(r"\1<user>", text)
    for name, word in ((host, "<host>"), (user, "<user>")):
        if len(name) > 2 and name not in ("root", "localhost"):
            text = re.sub(_PIECE.format(re.escape(name)), word, text)
    return text
