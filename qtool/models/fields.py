"""Typed, bounded reading of mappings that came from outside."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from qtool.errors import IntegrityError

# No count in a model's description comes near this; anything beyond is damage or malice.
MAX_COUNT = 2**48


@dataclass(frozen=True, slots=True)
class Fields:
    """A mapping of unknown shape, and the name of the file it came from for error messages.

    A missing key and an explicit ``null`` are the same: ``None``. A value of the wrong type or
    outside its range raises IntegrityError naming file and key. Of several keys, synonyms from
    different model families, the first that is present counts.
    """

    data: Mapping[str, Any]
    source: str

    def integer(self, *keys: str, minimum: int = 0, maximum: int = MAX_COUNT) -> int | None:
        """A whole number; ``4096.0`` counts as one."""
        for key in keys:
            value = self.data.get(key)
            if value is None:
                continue
            if isinstance(value, float) and math.isfinite(value) and value.is_integer():
                value = int(value)
            if isinstance(value, bool) or not isinstance(value, int):
                self.reject(key, "a whole number")
            if not minimum <= value <= maximum:
                self.reject(key, f"between {minimum} and {maximum}")
            return value
        return None

    def boolean(self, *keys: str) -> bool | None:
        for key in keys:
            value = self.data.get(key)
            if value is None:
                continue
            if not isinstance(value, bool):
                self.reject(key, "true or false")
            return value
        return None

    def text(self, *keys: str) -> str | None:
        for key in keys:
            value = self.data.get(key)
            if value is None:
                continue
            if not isinstance(value, str):
                self.reject(key, "a string")
            return value
        return None

    def texts(self, key: str) -> tuple[str, ...] | None:
        """A list of strings."""
        value = self.data.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.reject(key, "a list of strings")
        return tuple(value)

    def section(self, *keys: str) -> "Fields | None":
        """A nested object; its own errors name it as ``file: key``."""
        for key in keys:
            value = self.data.get(key)
            if value is None:
                continue
            if not isinstance(value, Mapping):
                self.reject(key, "an object")
            return Fields(value, f"{self.source}: {key}")
        return None

    def has_any(self, keys: Iterable[str]) -> bool:
        return any(self.data.get(key) is not None for key in keys)

    def reject(self, key: str, expected: str) -> NoReturn:
        """Raise IntegrityError: the value of ``key`` is not what it has to be."""
        raise IntegrityError(
            f"{self.source}: {key!r} should be {expected}, not {brief(self.data.get(key))}"
        )


def brief(value: object, limit: int = 60) -> str:
    """The representation of an untrusted value on one line, shortened.

    Containers are named by type only, so that neither size nor depth of the value matters; a
    number too long to be printed at all is named by its number of bits.
    """
    if isinstance(value, int) and value.bit_length() > 256:
        return f"a number of {value.bit_length()} bits"
    if isinstance(value, str | bytes):
        value = value[:limit]
    elif not isinstance(value, bool | int | float | None):
        return f"a value of type {type(value).__name__}"
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
