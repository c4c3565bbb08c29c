"""Settings: flag > environment > ``config.toml`` > default, each value with its origin.

The file is ``config.toml`` in the platform's configuration directory (Linux:
``~/.config/qtool``), or the file that ``QTOOL_CONFIG`` names. Its tables are the parts of a
setting's name before the dot::

    [download]
    endpoint = ["https://hf-mirror.com"]
    connections = 16

Secrets are not settings: tokens come from ``--token``, ``HF_TOKEN`` or the Hugging Face login.
"""

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qtool.errors import EnvironmentFault, UsageError
from qtool.units import parse_duration


def _parse_text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("a non-empty text")
    return value


def _parse_path(value: object) -> Path:
    try:
        return Path(_parse_text(value)).expanduser()
    except RuntimeError as exc:  # ~name of nobody
        raise ValueError("a folder") from exc


def _parse_texts(value: object) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise ValueError("a text or a list of texts")
    return tuple(item.strip() for item in items if item.strip())


def _parse_count(value: object) -> int:
    number = int(value) if isinstance(value, str) and value.strip().isdecimal() else value
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ValueError("a whole number of at least 1")
    return number


def _parse_connections(value: object) -> int:
    try:
        number = _parse_count(value)
    except ValueError:
        number = 0
    if not 1 <= number <= MAX_CONNECTIONS:
        raise ValueError(f"a whole number from 1 to {MAX_CONNECTIONS}")
    return number


def _parse_language(value: object) -> str:
    if value not in LANGUAGES:
        raise ValueError(f"one of {', '.join(LANGUAGES)}")
    return str(value)


def _parse_number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("a number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise ValueError("a number") from None
    if not math.isfinite(number):
        raise ValueError("a number")
    return number


def _parse_duration(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("a duration, such as 10m")
    try:
        return parse_duration(str(value))
    except ValueError:
        raise ValueError("a duration, such as 10m") from None


MAX_CONNECTIONS = 64
AUTOMATIC = "auto"
LANGUAGES = (AUTOMATIC, "en", "zh")
"""Languages that reports can be had in; ``auto`` is the locale's, or English."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing that can be set. ``environment`` is looked up in order."""

    name: str
    parse: Callable[[object], Any]
    default: Any
    environment: tuple[str, ...]
    help: str


@dataclass(frozen=True, slots=True)
class Value:
    """A setting's value and where it came from (``default``, ``$NAME``, a file, a flag)."""

    setting: Setting
    value: Any
    origin: str


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "download.endpoint",
        _parse_texts,
        (),
        ("HF_ENDPOINT",),
        "hub or mirror addresses, first choice first; empty: chosen automatically",
    ),
    Setting(
        "download.mirrors",
        _parse_texts,
        ("https://huggingface.co", "https://hf-mirror.com", "https://modelscope.cn"),
        ("QTOOL_MIRRORS",),
        "addresses to choose from when no endpoint is named",
    ),
    Setting(
        "download.connections",
        _parse_connections,
        4,
        ("QTOOL_CONNECTIONS",),
        "connections of a download; unless set, 4 to 30 as they pay, 48 for small files",
    ),
    Setting("chat.system", _parse_text, None, ("QTOOL_SYSTEM",), "system prompt"),
    Setting(
        "chat.max_new_tokens",
        _parse_count,
        1024,
        ("QTOOL_MAX_NEW_TOKENS",),
        "tokens a reply may have at most",
    ),
    Setting(
        "chat.temperature", _parse_number, None, ("QTOOL_TEMPERATURE",), "sampling temperature"
    ),
    Setting("chat.ctx", _parse_count, None, ("QTOOL_CTX",), "context length in tokens"),
    Setting(
        "chat.keep_alive",
        _parse_duration,
        None,
        ("QTOOL_KEEP_ALIVE",),
        "how long an engine stays for the next conversation: 90s, 10m, 1h",
    ),
    Setting(
        "ui.lang",
        _parse_language,
        AUTOMATIC,
        ("QTOOL_LANG",),
        "language of the doctor's reports: en, zh, or auto, which is the locale's",
    ),
    Setting(
        "paths.cache",
        _parse_path,
        None,
        ("QTOOL_CACHE",),
        "starter models; default: the platform's cache directory",
    ),
    Setting(
        "paths.state",
        _parse_path,
        None,
        ("QTOOL_STATE",),
        "engine logs and conversations; default: the platform's state directory",
    ),
    Setting(
        "paths.data",
        _parse_path,
        None,
        ("QTOOL_DATA",),
        "environments; default: the platform's data directory",
    ),
)


def config_path(environ: Mapping[str, str] | None = None) -> Path:
    """Return where ``config.toml`` is looked for; it need not exist. Raises UsageError."""
    environ = os.environ if environ is None else environ
    if named := environ.get("QTOOL_CONFIG"):
        try:
            return Path(named).expanduser()
        except RuntimeError as exc:
            raise UsageError(
                f"QTOOL_CONFIG is {named!r}: nobody knows that home", hint="unset QTOOL_CONFIG"
            ) from exc
    return _platform_dir("user_config_dir") / "config.toml"


class Config:
    """Looks settings up by name. Reads the file once, when first asked.

    Raises:
        UsageError: the file is no TOML, names an unknown setting, or a value does not parse.
    """

    def __init__(self, environ: Mapping[str, str] | None = None, path: Path | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        self.path = config_path(self._environ) if path is None else path
        self._file: dict[str, object] | None = None

    def get(self, name: str, flag: object = None) -> Any:
        """Return the value of the setting ``name``; ``flag`` wins where it is not ``None``."""
        return self.lookup(name, flag).value

    def lookup(self, name: str, flag: object = None) -> Value:
        """Return the value of the setting ``name`` together with its origin."""
        setting = next(setting for setting in SETTINGS if setting.name == name)
        if flag is not None and flag != [] and flag != ():
            return Value(setting, _parsed(setting, flag, "the command line"), "flag")
        for variable in setting.environment:
            if text := self._environ.get(variable):
                return Value(setting, _parsed(setting, text, f"${variable}"), f"${variable}")
        if name in self._from_file():
            origin = str(self.path)
            return Value(setting, _parsed(setting, self._from_file()[name], origin), origin)
        return Value(setting, setting.default, "default")

    def values(self) -> list[Value]:
        """Return every setting with its origin, in the order of the table."""
        return [self.lookup(setting.name) for setting in SETTINGS]

    def cache_dir(self) -> Path:
        """Return the folder for what can be fetched again."""
        return self.get("paths.cache") or _platform_dir("user_cache_dir")

    def state_dir(self) -> Path:
        """Return the folder for what a user would miss: logs, conversations."""
        return self.get("paths.state") or _platform_dir("user_state_dir")

    def data_dir(self) -> Path:
        """Return the folder for what qtool itself made and uses: environments."""
        return self.get("paths.data") or _platform_dir("user_data_dir")

    def _from_file(self) -> dict[str, object]:
        if self._file is None:
            self._file = _read_file(self.path)
        return self._file


def _platform_dir(function: str) -> Path:
    """Return a folder of the user's. Raises EnvironmentFault when nobody knows their home."""
    import platformdirs

    try:
        return Path(getattr(platformdirs, function)("qtool", appauthor=False))
    except RuntimeError as exc:
        raise EnvironmentFault(
            "the home directory is not known: HOME is not set, and this user has none",
            hint="HOME=/a/folder/of/yours qtool …",
        ) from exc


def _parsed(setting: Setting, value: object, origin: str) -> Any:
    try:
        return setting.parse(value)
    except ValueError as exc:
        raise UsageError(
            f"{setting.name} from {origin} is {value!r}; it takes {exc}",
            hint=_mend(origin),
        ) from exc


def _mend(origin: str) -> str | None:
    """Return the command that mends what ``origin`` (a variable, a file) sets."""
    if origin == "the command line":
        return None
    return f"unset {origin[1:]}" if origin.startswith("$") else f"${{EDITOR:-vi}} {origin}"


def _read_file(path: Path) -> dict[str, object]:
    try:
        if path.exists() and not path.is_file():  # reading a pipe would wait for ever
            raise UsageError(f"{path} is not a file", hint="qtool config path")
        text = path.read_text(encoding="utf-8-sig")  # Notepad puts a mark at the beginning
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"{path} is not UTF-8: {exc}", hint=_mend(str(path))) from exc
    import tomllib

    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as exc:  # no TOML, numbers of 5000 digits
        raise UsageError(f"{path} is not valid TOML: {exc}", hint=_mend(str(path))) from exc
    return _flattened(tables, path)


def _flattened(tables: Mapping[str, object], path: Path) -> dict[str, object]:
    known = {setting.name for setting in SETTINGS}
    flat: dict[str, object] = {}
    for table, entries in tables.items():
        items = entries.items() if isinstance(entries, dict) else [("", entries)]
        for key, value in items:
            name = f"{table}.{key}" if key else table
            if name not in known:
                raise UsageError(_unknown_setting(name, path), hint=_mend(str(path)))
            flat[name] = value
    return flat


def _unknown_setting(name: str, path: Path) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, [setting.name for setting in SETTINGS], n=1)
    meant = f"; did you mean {close[0]}?" if close else ""
    return f"{path} sets {name}, which does not exist{meant}"
