"""From findings to a plan: which of their fixes to apply, in which order, as one consistent set."""

from collections.abc import Sequence
from dataclasses import dataclass

from qtool.doctor.case import Case
from qtool.doctor.finding import Finding, Fix, Severity
from qtool.doctor.snapshot import UNKNOWN
from qtool.doctor.steps import Step, parse_step


@dataclass(frozen=True, slots=True)
class Cure:
    """One fix, and the findings that it is expected to cure."""

    code: str
    fix: Fix
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class CurePlan:
    """What is to be done, in order.

    Attributes:
        cures: Consistent with each other.
        later: Codes whose cure contradicts an earlier one; looked at again when that is done.
        by_hand: Findings that only the user can cure.
    """

    cures: tuple[Cure, ...] = ()
    later: tuple[str, ...] = ()
    by_hand: tuple[Finding, ...] = ()

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps in order, each once."""
        unique = {step.command: step for cure in self.cures for step in cure.steps}
        return tuple(unique.values())

    @property
    def indexes(self) -> dict[str, str]:
        """The wheel indexes that the steps name, each with a package that it should have."""
        return {step.index_url: next(iter(step.packages)) for step in self.steps if step.index_url}


def plan_cures(
    case: Case,
    findings: Sequence[Finding],
    *,
    unreachable: frozenset[str] = frozenset(),
    tried: frozenset[str] = frozenset(),
) -> CurePlan:
    """Choose a fix for every error, or where there is none for every warning; the worst first.

    Fixes that need an index of ``unreachable`` are passed over, and so are those whose commands
    (joined by line ends) are in ``tried``.
    """
    cures: list[Cure] = []
    later: list[str] = []
    by_hand: list[Finding] = []
    for finding in _to_cure(findings):
        options = [
            Cure(finding.code, fix, steps)
            for fix in finding.fixes
            if "\n".join(fix.commands) not in tried
            and (steps := _steps(case, fix))
            and not unreachable & {step.index_url for step in steps}
        ]
        fitting = next((one for one in options if not _contradicts(one, cures)), None)
        if fitting is not None:
            cures.append(fitting)
        elif options:
            later.append(finding.code)
        else:
            by_hand.append(finding)
    return CurePlan(tuple(cures), tuple(dict.fromkeys(later)), tuple(by_hand))


def _to_cure(findings: Sequence[Finding]) -> list[Finding]:
    for severity in (Severity.ERROR, Severity.WARNING):
        found = [finding for finding in findings if finding.severity is severity]
        if found:
            return found
    return []


def _steps(case: Case, fix: Fix) -> tuple[Step, ...] | None:
    """Return the steps of a fix, ``None`` where one is not for qtool to run."""
    interpreter = case.snapshot.interpreter
    if interpreter is UNKNOWN:
        return None
    steps = []
    for command in fix.commands:
        step = parse_step(command, interpreter.path, is_windows=case.is_windows)
        if step is None:
            return None
        steps.append(step)
    return tuple(steps)


def _contradicts(cure: Cure, earlier: Sequence[Cure]) -> bool:
    """Tell whether ``cure`` wants a package otherwise than what comes before it."""
    mine = _wishes(cure)
    for other in earlier:
        for name, wish in _wishes(other).items():
            if name in mine and mine[name] != wish and "" not in (mine[name], wish):
                return True
    return False


def _wishes(cure: Cure) -> dict[str, str]:
    """Return what a cure leaves of each package: a range, ``""`` for any, ``"-"`` for none."""
    wishes: dict[str, str] = {}
    for step in cure.steps:
        for name, versions in step.packages.items():
            wishes[name] = "-" if step.verb == "uninstall" else versions
    return wishes
