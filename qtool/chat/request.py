"""What a user may ask of a conversation."""

from dataclasses import dataclass, fields, replace
from enum import StrEnum
from math import isfinite
from pathlib import Path
from typing import Any

from qtool.errors import UsageError
from qtool.language.message import say


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

    def __post_init__(self) -> None:
        """Refuse what no engine can draw by.

        Raises:
            UsageError: a number that is none (NaN, infinity), a penalty of zero, an empty stop.
        """
        for name in ("temperature", "top_p", "min_p", "repeat_penalty"):
            value = getattr(self, name)
            if value is not None and not isfinite(value):
                option = f"--{name.replace('_', '-')} {value}"
                raise UsageError(say("{option} is no number to draw by", option=option))
        if self.repeat_penalty == 0:
            raise UsageError(
                say("--repeat-penalty 0 forbids nothing and breaks everything"),
                hint=say("--repeat-penalty 1 switches it off"),
            )
        if "" in self.stop:
            raise UsageError(say("--stop '' would end every reply before it begins"))

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
        raise UsageError(say("-io FILE stands for -i FILE -o FILE"), hint=f"-io {both}")
    return HistoryFiles(both, both, may_be_missing=True)
