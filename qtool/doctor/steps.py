"""The commands of a fix that qtool may run itself, taken apart; no shell ever sees them.

Only pip's and uv's ``install`` and ``uninstall`` into the examined interpreter count, with options
that are known here. All else (a system's package manager, ``export``, advice) is for the user.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

_WITH_VALUE = {"--index-url", "--extra-index-url", "--no-binary", "--only-binary", "--python"}
_FLAGS = {
    *("--upgrade", "--no-deps", "--force-reinstall", "--no-build-isolation", "--no-cache-dir"),
    *("-y", "-v"),
}
_VARIABLES = {"PYPI_RELEASE", "BUILD_CUDA_EXT", "CMAKE_ARGS", "MAX_JOBS", "FLASH_ATTENTION_SKIP"}
_REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(\[[^\]]*\])?([=<>!~].*)?")
_SETTING = re.compile(r"([A-Z_]+)=(.*)")


@dataclass(frozen=True, slots=True)
class Step:
    """One command, ready to run.

    Attributes:
        command: As the fix spells it and the user reads it.
        argv: As it is run.
        variables: Environment variables it needs.
        verb: ``install`` or ``uninstall``.
        packages: Canonical name to version range; empty for any.
        index_url: The index it names, if it does.
    """

    command: str
    argv: tuple[str, ...]
    variables: Mapping[str, str]
    verb: str
    packages: Mapping[str, str]
    index_url: str | None = None

    @property
    def builds(self) -> bool:
        """Tell whether it compiles, so that nobody can tell beforehand whether it works."""
        return "--no-build-isolation" in self.argv or "--no-binary" in self.argv


def parse_step(command: str, python: str, *, is_windows: bool = False) -> Step | None:
    """Return the step of ``command``, ``None`` where qtool may not run it.

    ``python`` is the examined interpreter, the only one that is ever installed into.
    """
    try:
        words = shlex.split(command, posix=not is_windows)
    except ValueError:  # an open quote
        return None
    if is_windows:
        words = [word.strip('"') for word in words]
    variables = {}
    while words and (setting := _SETTING.fullmatch(words[0])):
        variables[setting[1]] = setting[2]
        words = words[1:]
    verb, rest = _verb_and_rest(words, python)
    parsed = _parse_rest(rest)
    if verb is None or parsed is None or not variables.keys() <= _VARIABLES:
        return None
    packages, index_url = parsed
    return Step(command, tuple(words), variables, verb, packages, index_url)


def _verb_and_rest(words: list[str], python: str) -> tuple[str | None, list[str]]:
    if words[1:3] == ["-m", "pip"] and words[:1] == [python]:
        verb, rest = words[3:4], words[4:]
    elif words[:2] == ["uv", "pip"] and words[3:5] == ["--python", python]:
        verb, rest = words[2:3], words[5:]
    else:
        return None, []
    return (verb[0], rest) if verb and verb[0] in ("install", "uninstall") else (None, [])


def _parse_rest(words: list[str]) -> tuple[dict[str, str], str | None] | None:
    """Return packages and index; ``None`` where an option or a word is not known."""
    from qtool.doctor.snapshot import canonical_name

    packages: dict[str, str] = {}
    index_url = None
    remaining = iter(words)
    for word in remaining:
        if word in _WITH_VALUE:
            value = next(remaining, None)
            index_url = value if word == "--index-url" else index_url
        elif word not in _FLAGS:
            match = _REQUIREMENT.fullmatch(word)
            if match is None:
                return None
            packages[canonical_name(match[1])] = match[3] or ""
    return (packages, index_url) if packages else None
