"""Writing one setting to ``config.toml``: the other lines, comments included, stay as they are.

TOML has no writer in the standard library. The file is changed line by line, and the change is
taken only when the result, read again, differs from what was there in nothing but that setting.
"""

import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qtool.config import SETTINGS, Setting
from qtool.errors import ResourceError, UsageError


def write_setting(path: Path, name: str, text: str) -> Any:
    """Set ``name`` in the file, which need not exist, to what ``text`` says; return that value.

    Raises:
        UsageError: there is no such setting, it does not take ``text``, or the file cannot be
            changed without touching more than that.
        ResourceError: the file cannot be written.
    """
    setting = _find(name)
    try:
        value = setting.parse(text)
    except ValueError as exc:
        raise UsageError(f"{name} takes {exc}, not {text!r}") from exc
    try:
        before = path.read_text(encoding="utf-8-sig") if path.is_file() else ""
        _replace(path, with_setting(before, name, _literal(value, text)))
    except OSError as exc:
        raise ResourceError(f"cannot write {path}: {exc.strerror or exc}") from exc
    except ValueError as exc:  # no TOML, no UTF-8, or written in a way that this does not know
        raise UsageError(
            f"{path} cannot be changed by qtool: {exc}", hint=f"${{EDITOR:-vi}} {path}"
        ) from exc
    return value


def with_setting(before: str, name: str, literal: str) -> str:
    """Return the text of a file in which ``name`` is the TOML ``literal``. Pure.

    Raises:
        ValueError: ``before`` is no TOML, or has the setting in a form that is not known.
    """
    import tomllib

    table, _, key = name.partition(".")
    expected = tomllib.loads(before)
    entries = expected.setdefault(table, {})
    if not isinstance(entries, dict):
        raise ValueError(f"{table} is no table in it")
    entries[key] = tomllib.loads(f"x = {literal}")["x"]
    for candidate in _candidates(before, table, key, literal):
        with contextlib.suppress(tomllib.TOMLDecodeError):
            if tomllib.loads(candidate) == expected:
                return candidate
    raise ValueError(f"{name} stands in it in a form that only a person can change")


def _candidates(before: str, table: str, key: str, literal: str) -> Iterator[str]:
    """Yield the texts that may be meant, the most likely first."""
    lines = before.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    line = f"{key} = {literal}"
    header = re.compile(rf"\s*\[\s*{table}\s*\]\s*(#.*)?")
    begin = next((n for n, one in enumerate(lines) if header.fullmatch(one.rstrip("\n"))), None)
    if begin is None:
        gap = "\n" if lines else ""
        yield "".join([*lines, f"{gap}[{table}]\n{line}\n"])
        return
    own = re.compile(rf"\s*(?:{key}|\"{key}\")\s*=")
    at = next((n for n in range(begin + 1, len(lines)) if own.match(lines[n])), None)
    if at is None:
        yield "".join([*lines[: begin + 1], f"{line}\n", *lines[begin + 1 :]])
        return
    for end in range(at + 1, len(lines) + 1):  # a list may take several lines
        comment = _comment_of(lines[at]) if end == at + 1 else ""
        yield "".join([*lines[:at], f"{line}{comment}\n", *lines[end:]])


def _comment_of(line: str) -> str:
    """Return the comment behind a value, with the blanks before it; empty without one."""
    import tomllib

    value, mark, comment = line.rstrip("\r\n").partition("#")
    try:
        tomllib.loads(value)
    except tomllib.TOMLDecodeError:  # the mark is part of a text
        return ""
    return f"{value[len(value.rstrip()) :]}{mark}{comment}"


def _find(name: str) -> Setting:
    from difflib import get_close_matches

    names = [setting.name for setting in SETTINGS]
    if name in names:
        return SETTINGS[names.index(name)]
    close = get_close_matches(name, names, n=1)
    meant = f"; did you mean {close[0]}?" if close else ""
    raise UsageError(f"there is no setting {name}{meant}", hint="qtool config show")


def _literal(value: Any, text: str) -> str:
    """Return a parsed value in TOML; what is neither number nor list as it was typed."""
    if isinstance(value, tuple):
        return f"[{', '.join(json.dumps(item, ensure_ascii=False) for item in value)}]"
    is_number = isinstance(value, int | float) and not re.search(r"[a-zA-Z]", text)
    return repr(value) if is_number else json.dumps(text, ensure_ascii=False)


def _replace(path: Path, text: str) -> None:
    """Give the file, also one behind a link, new content at once. Raises OSError."""
    place = path.resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = place.with_name(f"{place.name}.new")
    fresh.write_text(text, encoding="utf-8")
    if place.exists():
        shutil.copymode(place, fresh)
    fresh.replace(place)
