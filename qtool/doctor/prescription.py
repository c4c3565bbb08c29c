"""An environment of qtool's own as the cure, where the examined one cannot or need not change."""

from collections.abc import Sequence
from dataclasses import dataclass

from qtool.doctor.case import Case
from qtool.doctor.finding import Finding, Fix, Severity
from qtool.doctor.verdict import judge

_CREATE = "qtool env create "


@dataclass(frozen=True, slots=True)
class Prescription:
    """An environment to make. ``code`` is of the finding that it cures, ``runs`` how to use it."""

    code: str
    title: str
    recipe: str
    runs: tuple[str, ...]


def prescribe(case: Case, findings: Sequence[Finding]) -> Prescription | None:
    """Return the environment that would serve what the user wants; ``None`` where none is named.

    Errors go before warnings, and both before a model that does not run for want of packages.
    """
    for severity in (Severity.ERROR, Severity.WARNING):
        for finding in findings:
            if finding.severity is severity and (found := _read(finding.code, finding.fixes)):
                return found
    if case.model is None:
        return None
    refused = (verdict.cures for verdict in judge(case).values() if not verdict.runs)
    return next((found for cures in refused if (found := _read("verdict", cures))), None)


def _read(code: str, fixes: Sequence[Fix]) -> Prescription | None:
    for fix in fixes:
        first, *others = fix.commands
        if first.startswith(_CREATE):
            return Prescription(code, fix.title, first.removeprefix(_CREATE), tuple(others))
    return None
