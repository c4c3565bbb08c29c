"""JSON values of one type, or ``UNKNOWN``: nothing that is read can be wrong enough to fail."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from qtool.doctor.snapshot import UNKNOWN, Maybe, Unknown

T = TypeVar("T")


def is_mapping(value: object) -> bool:
    """Tell whether a value is a JSON object."""
    return isinstance(value, Mapping)


def mapping_in(value: object) -> Mapping[str, Any]:
    """Return a JSON object, an empty one in the place of anything else."""
    return value if isinstance(value, Mapping) else {}


def list_in(value: object) -> list[Any]:
    """Return a list, an empty one in the place of anything else."""
    return value if isinstance(value, list) else []


def text_at(source: Mapping[str, Any], key: str) -> Maybe[str]:
    """Return a text or null."""
    value = source.get(key, UNKNOWN)
    return value if value is None or isinstance(value, str) else UNKNOWN


def known_text_at(source: Mapping[str, Any], key: str) -> str | Unknown:
    """Return a text that is not empty."""
    return text_at(source, key) or UNKNOWN


def flag_at(source: Mapping[str, Any], key: str) -> bool | Unknown:
    """Return true or false."""
    value = source.get(key)
    return value if isinstance(value, bool) else UNKNOWN


def number_at(source: Mapping[str, Any], key: str) -> float | Unknown:
    """Return a finite number that is not negative and fits into 63 bits."""
    value = source.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return UNKNOWN
    return value if 0 <= value < 2**63 else UNKNOWN  # NaN is not; a whole number may be any length


def whole_at(source: Mapping[str, Any], key: str) -> int | Unknown:
    """Return such a number without its fraction."""
    value = number_at(source, key)
    return UNKNOWN if value is UNKNOWN else int(value)


def texts_in(value: object) -> dict[str, str]:
    """Return the texts of an object by key; what is no text is left out."""
    return {str(k): v for k, v in mapping_in(value).items() if isinstance(v, str)}


def strings_in(value: object) -> tuple[str, ...]:
    """Return the texts of a list."""
    return tuple(item for item in list_in(value) if isinstance(item, str))


def tuples_in(value: object, key: Callable[[str], str] = str) -> dict[str, tuple[str, ...]]:
    """Return the lists of texts of an object, its keys changed by ``key``."""
    pairs = mapping_in(value).items()
    return {key(str(name)): strings_in(items) for name, items in pairs if isinstance(items, list)}


def known_texts_in(value: object) -> dict[str, str] | Unknown:
    """Return the texts of an object, or ``UNKNOWN`` where there is none."""
    return texts_in(value) if isinstance(value, Mapping) else UNKNOWN


def absent_or(
    source: Mapping[str, Any], key: str, read: Callable[[object], T | Unknown]
) -> T | Unknown | None:
    """Return ``None`` for null, what ``read`` makes of a value, ``UNKNOWN`` where the key lacks."""
    if key not in source:
        return UNKNOWN
    return None if source[key] is None else read(source[key])
