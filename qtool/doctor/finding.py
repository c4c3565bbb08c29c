"""What doctor says: findings, each with its evidence and the commands that cure it."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Goal(StrEnum):
    """What the user wants to run; it decides what is an error and what only information."""

    GPTQ = "gptq"
    AWQ = "awq"
    GGUF = "gguf"
    FLASH_ATTN = "flash-attn"
    BNB = "bnb"
    PLAIN = "plain"
    BUILD = "build"


class Severity(StrEnum):
    """How bad a finding is for the goal at hand."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    OK = "ok"

    @property
    def rank(self) -> int:
        """Return 0 for the worst."""
        return list(Severity).index(self)


class Confidence(StrEnum):
    """How sure a finding is."""

    CERTAIN = "certain"  # seen on this machine: a symbol, a file, a failed import
    LIKELY = "likely"  # follows from versions and published facts
    POSSIBLE = "possible"  # will happen only if the user takes a certain step


@dataclass(frozen=True, slots=True)
class Fix:
    """One complete cure: ``commands`` in order, nothing else needed. Fixes are alternatives."""

    title: str
    commands: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or worth knowing. ``code`` is stable."""

    code: str
    severity: Severity
    title: str
    explanation: str
    evidence: tuple[str, ...]
    fixes: tuple[Fix, ...] = ()
    confidence: Confidence = Confidence.CERTAIN

    def to_json(self) -> dict[str, Any]:
        """Return the finding as plain JSON values."""
        return asdict(self)
