"""Versions and compute capabilities: parsing that never fails, comparing that never surprises."""

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

Capability = tuple[int, int]


def parse_version(text: object) -> "Version | None":
    """Return the version, ``None`` when ``text`` is none (PEP 440)."""
    from packaging.version import Version

    if not isinstance(text, str):
        return None
    try:
        return Version(text)
    except ValueError:  # InvalidVersion, and numbers too long for int()
        return None


def is_within(version: object, specifier: str) -> bool:
    """Tell whether a version lies in a range, counted by the release it leads to.

    A nightly ``2.7.0.dev20250310+cu124`` and a vendor's ``2.5.0a0`` count as 2.7.0 and 2.5.0, for
    what they can do is that of the release; a local part (``+cu121``) is left out of account.
    """
    parsed = parse_version(version)
    if parsed is None:
        return False
    bare = parsed.base_version + (f".post{parsed.post}" if parsed.post is not None else "")
    return _specifiers(specifier).contains(bare, prereleases=True)


@cache
def _specifiers(specifier: str) -> "SpecifierSet":
    """Return a parsed range; those of the facts are few and asked for again and again."""
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(specifier)


def minor_release(version: object) -> tuple[int, int] | None:
    """Return (major, minor) of a version."""
    parsed = parse_version(version)
    return None if parsed is None else (parsed.major, parsed.minor)


def parse_capability(text: object) -> Capability | None:
    """Return ``(8, 6)`` for ``"8.6"``."""
    match = re.fullmatch(r"(\d{1,2})\.(\d{1,2})", str(text).strip())
    return (int(match[1]), int(match[2])) if match else None


def capability_words(capability: Capability) -> str:
    """Return ``"8.6"`` for ``(8, 6)``."""
    return f"{capability[0]}.{capability[1]}"


def parse_arch(name: str) -> tuple[str, Capability] | None:
    """Return ``("sm", (8, 6))`` for ``sm_86``, ``("compute", (9, 0))`` for ``compute_90a``."""
    match = re.fullmatch(r"(sm|compute)_(\d{1,2})(\d)[af]?", name.strip())
    return (match[1], (int(match[2]), int(match[3]))) if match else None


def number_tuple(text: object) -> tuple[int, ...] | None:
    """Return the leading numbers of a driver's or compiler's version, for comparing."""
    match = re.match(r"\d{1,6}(?:\.\d{1,6}){0,5}", str(text).strip())
    return tuple(int(part) for part in match[0].split(".")) if match else None
