"""Lines of a report, before anybody paints them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from qtool.language.translation import Language, translate


class LineKind(StrEnum):
    """What a line is, for whoever paints it."""

    SUMMARY = "summary"
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    OK = "ok"
    TEXT = "text"
    COMMAND = "command"
    TABLE = "table"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the report."""

    kind: LineKind
    text: str


def translated(lines: Iterable[Line], language: Language) -> Iterator[Line]:
    """Yield lines in ``language``."""
    return (replace(line, text=translate(line.text, language)) for line in lines)
