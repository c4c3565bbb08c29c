"""``qtool doctor --fix``: show the plan, ask, apply it, look again; or put everything back."""

import shlex
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qtool.cli.doctor_view import diff_lines, painted, plan_json, plan_lines
from qtool.cli.env_view import Progress
from qtool.config import Config
from qtool.doctor.apply import Outcome, Surgeon, environment_of, lock_of
from qtool.doctor.backup import Backup
from qtool.doctor.case import Case
from qtool.doctor.cures import CurePlan, plan_cures
from qtool.doctor.diagnosis import diagnose
from qtool.doctor.diff import SnapshotDiff, compare
from qtool.doctor.environments import recipe_for
from qtool.doctor.finding import Finding, Severity
from qtool.doctor.snapshot import UNKNOWN, Unknown
from qtool.envs.indexes import first_reachable
from qtool.envs.lock import EnvironmentLock
from qtool.envs.store import Store
from qtool.errors import EnvironmentFault, ExitCode, NetworkError, QtoolError, UsageError
from qtool.output import Output

MAX_ROUNDS = 4
"""A cure may uncover what the next one is for, and one that fails may have an alternative."""


@dataclass(slots=True)
class Treatment:
    """One environment under treatment: what is wrong now, and what was done so far."""

    output: Output
    case: Case
    look_again: Callable[[], Case]
    is_agreed: bool
    prefix: Path
    state: Path
    findings: tuple[Finding, ...] = ()
    tried: set[str] = field(default_factory=set)
    plans: list[CurePlan] = field(default_factory=list)
    n_kept: int = 0

    def examine(self) -> tuple[Any, tuple[Finding, ...]]:
        """Take a new snapshot and return it with its findings."""
        self.case = self.look_again()
        self.findings = diagnose(self.case)
        return self.case.snapshot, self.findings


def fix(
    output: Output,
    case: Case,
    look_again: Callable[[], Case],
    *,
    is_dry: bool,
    is_agreed: bool,
) -> int:
    """Cure the examined environment, or with ``is_dry`` only say how.

    Raises:
        EnvironmentFault: it is not ours to change, or no cure helped and it is as it was before.
        UsageError: nobody has agreed and nobody can be asked.
    """
    state = Config().state_dir()
    prefix = environment_of(case, Store().root)
    treatment = Treatment(output, case, look_again, is_agreed, prefix, state, diagnose(case))
    if is_dry:
        _note_unfinished(treatment)
        return _rehearsed(treatment)
    with lock_of(prefix, state) as lock:
        _settle_unfinished(treatment)
        before = treatment.case.snapshot, treatment.findings
        _treat(treatment, lock)
    diff = compare(before[0], treatment.case.snapshot, before[1], treatment.findings)
    return _report(treatment, diff)


def _rehearsed(treatment: Treatment) -> int:
    plan = _plan(treatment)
    document = {"plan": plan_json(plan), "applied": False}
    lines = [*_plan_texts(treatment, plan), *_nothing_lines(treatment, plan)]
    treatment.output.result(document, lines)
    return _exit_code(treatment.findings)


def _treat(treatment: Treatment, lock: EnvironmentLock) -> None:
    """Go on until nothing is left that can be cured, or the last cure failed."""
    failure: QtoolError | None = None
    for _ in range(MAX_ROUNDS):
        plan = _plan(treatment)
        if not plan.cures:
            break
        if failure is not None:
            treatment.output.warn(f"undone: {failure.message}")
        _show(treatment, plan)
        if not _is_agreed(treatment):
            treatment.output.note("nothing was changed")
            break
        treatment.plans.append(plan)
        treatment.tried |= {"\n".join(cure.fix.commands) for cure in plan.cures}
        before = treatment.case.snapshot.dists
        outcome = _operate(treatment, plan, lock)
        failure = outcome.why_not
        treatment.n_kept += outcome.is_kept
        if failure is not None:
            _check_undone(treatment, before, outcome.altered)
        if isinstance(failure, NetworkError):
            break
    if failure is not None:
        raise type(failure)(
            f"{failure.message}\n  {treatment.prefix} is as it was before", hint=failure.hint
        )


def _plan(treatment: Treatment) -> CurePlan:
    """Plan with the indexes that answer."""
    unreachable: frozenset[str] = frozenset()
    tried = frozenset(treatment.tried)
    while True:
        plan = plan_cures(treatment.case, treatment.findings, unreachable=unreachable, tried=tried)
        gone = {
            url for url, package in plan.indexes.items() if first_reachable((url,), package) is None
        }
        if not gone:
            return plan
        for url in sorted(gone):
            treatment.output.note(f"{url} does not answer")
        unreachable |= gone


def _show(treatment: Treatment, plan: CurePlan) -> None:
    for text in _plan_texts(treatment, plan):
        treatment.output.note(text)


def _plan_texts(treatment: Treatment, plan: CurePlan) -> list[str]:
    lines = plan_lines(plan, str(treatment.prefix))
    return [text for line in lines for text in painted(treatment.output, line)]


def _is_agreed(treatment: Treatment, question: str = "apply this?") -> bool:
    """Ask, unless the user has agreed beforehand.

    Raises:
        UsageError: nobody can be asked.
    """
    output = treatment.output
    if treatment.is_agreed:
        return True
    if not output.is_interactive:
        goal = f" --goal {treatment.case.goal}" if treatment.case.goal else ""
        raise UsageError(
            "--fix asks before it changes anything, and nobody is here to answer",
            hint=f"qtool doctor --python {shlex.quote(str(treatment.prefix))}{goal} --fix -y",
        )
    return output.ask(question)


def _operate(treatment: Treatment, plan: CurePlan, lock: EnvironmentLock) -> Outcome:
    """Rehearse and carry out a plan; the log stays where it failed."""
    logs = treatment.state / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    path = logs / f"fix-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}.log"
    with ExitStack() as stack:
        log = stack.enter_context(path.open("ab"))
        progress = stack.enter_context(Progress(treatment.output))
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="qtool-fix-"))
        surgeon = Surgeon(treatment.prefix, lock, log, progress.on_event)
        try:
            if not surgeon.rehearse(plan.steps, Path(scratch)):
                treatment.output.note("not all of it could be rehearsed; it is undone if it fails")
        except QtoolError as exc:
            return Outcome(False, why_not=exc)
        outcome = surgeon.operate(
            plan, treatment.case.snapshot, treatment.findings, treatment.examine
        )
    if outcome.is_kept:
        path.unlink()
    return outcome


def _note_unfinished(treatment: Treatment) -> None:
    if unfinished_words(treatment.prefix):
        treatment.output.warn(unfinished_words(treatment.prefix) or "")


def unfinished_words(prefix: Path) -> str | None:
    """Say that a cure of this environment was killed half-way; ``None`` if none was."""
    journal = Backup(prefix).unfinished()
    if journal is None:
        return None
    commands = "; ".join(journal.commands)
    return (
        f"a cure begun at {journal.started_at} was killed half-way ({commands}); "
        f"qtool doctor --python {shlex.quote(str(prefix))} --fix puts the environment back"
    )


def _settle_unfinished(treatment: Treatment) -> None:
    """Put an environment back that a killed cure has left in between.

    Raises:
        EnvironmentFault: the user does not want that.
    """
    words = unfinished_words(treatment.prefix)
    if words is None:
        return
    treatment.output.warn(words)
    if not _is_agreed(treatment, "put it back as it was before?"):
        raise EnvironmentFault(
            f"{treatment.prefix} is half changed; its copy is in {treatment.prefix / '.qtool-fix'}"
        )
    backup = Backup(treatment.prefix)
    journal = backup.unfinished()
    before = journal.dists if journal else UNKNOWN
    _check_undone(treatment, before, backup.restore())
    treatment.output.note(f"{treatment.prefix} is as it was before")


def _check_undone(
    treatment: Treatment, before: Mapping[str, str] | Unknown, altered: Sequence[str]
) -> None:
    """Look again and make sure that the environment is what it was.

    Raises:
        EnvironmentFault: it is not; says in what.
    """
    treatment.examine()
    now = treatment.case.snapshot.dists
    for name in altered:
        treatment.output.warn(f"{treatment.prefix / name} was written into: not as before")
    if before is not UNKNOWN and now is not UNKNOWN and dict(before) != dict(now):
        differ = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
        raise EnvironmentFault(
            f"{treatment.prefix} could not be put back as it was: {', '.join(differ)} differ"
        )


def _report(treatment: Treatment, diff: SnapshotDiff) -> int:
    output = treatment.output
    document = {
        "plans": [plan_json(plan) for plan in treatment.plans],
        "applied": treatment.n_kept > 0,
        "diff": diff.to_json(),
        "findings": [finding.to_json() for finding in treatment.findings],
    }
    rest = plan_cures(treatment.case, treatment.findings, tried=frozenset(treatment.tried))
    if rest.by_hand and not rest.cures:
        _show(treatment, rest)
    lines = _nothing_lines(treatment, rest)
    if treatment.n_kept:
        lines = [text for line in diff_lines(diff) for text in painted(output, line)]
    output.result(document, lines)
    return _exit_code(treatment.findings)


def _nothing_lines(treatment: Treatment, plan: CurePlan) -> list[str]:
    """Say that there is nothing to do, or nothing that could be done here."""
    if plan.cures:
        return []
    if not any(f.severity in (Severity.ERROR, Severity.WARNING) for f in treatment.findings):
        return [f"nothing to cure in {treatment.prefix}"]
    recipe = recipe_for(treatment.case)
    return [f"nothing that qtool could cure in {treatment.prefix}; or: qtool env create {recipe}"]


def _exit_code(findings: Sequence[Finding]) -> int:
    is_bad = any(finding.severity is Severity.ERROR for finding in findings)
    return ExitCode.FINDINGS if is_bad else ExitCode.OK
