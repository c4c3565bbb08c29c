"""Take a person's traces out of texts before they are sent away."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from qtool.doctor.private_hosts import holds_addresses, without_hosts, without_hosts_in
from qtool.doctor.secrets import without_secrets

# Up to the next separator, for a name may hold spaces; rather too much than too little.
_FOLDERS_OF_PEOPLE = re.compile(
    r"((?:/|\\+)(?:homes?|Users|scratch)(?:/|\\+))[^/\\:;\"'<>|]+", re.IGNORECASE
)
GENERIC_NAMES = frozenset(
    [
        *("root", "user", "users", "admin", "administrator", "localhost", "home", "default"),
        *("python", "python3", "conda", "torch", "cuda", "nvidia", "linux", "windows", "darwin"),
        *("ubuntu", "debian", "docker", "runner", "jovyan", "vscode", "test", "build", "app"),
    ]
)
"""Names that say nothing of a person or a machine, and are all over a snapshot."""
MIN_NAME_LENGTH = 3
"""A shorter name is taken for one only where it is a whole part of a path."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who and what a text must not name: home folders, hosts, users.

    ``neighbours`` are the machine's other users; their names are looked for in paths only.
    """

    homes: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    neighbours: tuple[str, ...] = ()

    def patterns(self) -> tuple[tuple[re.Pattern[str], str], ...]:
        """Return what is to be replaced, in this order, and by what."""
        homes = sorted({v for home in self.homes for v in _spellings(home)}, key=len)
        found = [(re.compile(re.escape(h) + r"(?![\w-]|\.\w)", re.I), "~") for h in homes[::-1]]
        found.append((_FOLDERS_OF_PEOPLE, r"\1<user>"))
        for names, word in ((self.hosts, "<host>"), (self.users, "<user>")):
            known = sorted({v for name in names for v in _name_spellings(name)}, key=len)
            found += [(_name_pattern(name), word) for name in known[::-1]]
        others = sorted(set(self.neighbours) - GENERIC_NAMES)
        found += [(_path_pattern(re.escape(name)), "<user>") for name in others]
        return tuple(found)


def redact(value: Any, *, home: str, host: str, user: str) -> Any:
    """Return JSON values with home folder, host and user name replaced in every text.

    ``home`` becomes ``~``; other people's home folders lose their names as well.
    """
    return without_names(value, Identity((home,), (host,), (user,)))


def without_names(value: Any, identity: Identity) -> Any:
    """Return JSON values that name nobody; keys are changed only where they are paths."""
    patterns = identity.patterns()

    def change(text: str) -> str:
        text = without_hosts(without_secrets(text))
        for pattern, word in patterns:
            text = pattern.sub(word, text)
        return text

    return _mapped(value, change)


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {
            _key(str(key), change): _mapped(_without_servers(str(key), item), change)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_mapped(item, change) for item in value]
    return value


def _without_servers(name: str, value: Any) -> Any:
    """Return what a variable holds without the servers that only its name tells to be some."""
    is_list = isinstance(value, str) and holds_addresses(name)
    return without_hosts_in(value) if is_list else value


def _key(key: str, change: Callable[[str], str]) -> str:
    """Leave names of fields, packages and modules alone: a user may be called like one."""
    return change(key) if "/" in key or "\\" in key else key


def _spellings(home: str) -> Iterator[str]:
    """Yield a folder as it is written in paths, in addresses, in reprs and in shells."""
    bare = home.rstrip("/\\")
    if len(bare) < 2:
        return
    for form in _normal_forms(bare):
        yield form
        yield quote(form)
        yield form.replace(" ", "\\ ")
        yield form.replace("\\", "\\\\")
        yield form.replace("\\", "/")


def _name_spellings(name: str) -> Iterable[str]:
    if not name or name.lower() in GENERIC_NAMES:
        return ()
    return {spelling for form in _normal_forms(name) for spelling in (form, quote(form))}


def _normal_forms(text: str) -> set[str]:
    """Return a text as typed and as file systems store it: macOS takes accents apart."""
    return {text, *(unicodedata.normalize(form, text) for form in ("NFC", "NFD"))}


def _name_pattern(name: str) -> re.Pattern[str]:
    """Match a name between anything but letters and digits; a short one between separators."""
    escaped = re.escape(name)
    if len(name) < MIN_NAME_LENGTH:
        return _path_pattern(escaped)
    return re.compile(rf"(?<![^\W_]){escaped}(?![^\W_])", re.IGNORECASE)


def _path_pattern(escaped: str) -> re.Pattern[str]:
    """Match a whole part of a path."""
    return re.compile(rf"(?<=[/\\]){escaped}(?=[/\\\s:;\"']|$)", re.IGNORECASE)
