"""What a user may ask of a conversation."""

from dataclasses import dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from qtool.errors import UsageError


class Think(StrEnum):
    """What to do with a model's reasoning."""

    SHOW = "show"
    FOLD = "fold"
    HIDE = "hide"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. ``None`` leaves a value to the model and its engine."""

    max_new_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()

    def or_else(self, fallback: "Sampling") -> "Sampling":
        """Return these values, ``fallback``'s where there are none."""
        own = {f.name: getattr(self, f.name) for f in fields(self)}
        given = {name: value for name, value in own.items() if value not in (None, ())}
        return replace(fallback, **given)

    def to_api(self) -> dict[str, Any]:
        """Return the fields of a request, by the API's names."""
        names = {"max_new_tokens": "max_tokens"}
        values = {names.get(f.name, f.name): getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in values.items() if value not in (None, ())}


@dataclass(frozen=True, slots=True)
class HistoryFiles:
    """Where a conversation is loaded from and saved to. ``input`` may be missing for ``-io``."""

    input: Path | None = None
    output: Path | None = None
    may_be_missing: bool = False


def choose_history_files(
    source: Path | None, target: Path | None, both: Path | None
) -> HistoryFiles:
    """Resolve ``-i``, ``-o`` and ``-io``.

    Raises:
        UsageError: ``-io`` together with one of the others.
    """
    if both is None:
        return HistoryFiles(source, target)
    if source is not None or target is not None:
        raise UsageError("-io FILE stands for -i FILE -o FILE", hint=f"-io {both}")
    return HistoryFiles(both, both, may_be_missing=True)
