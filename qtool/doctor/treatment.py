"""The whole course of a cure: what a killed one left, plan, consent, operation, another look.

Several rounds are possible: a cure may uncover what the next one is for, and one that fails may
have an alternative. What is shown and asked is the business of a ``Bedside``.
"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from qtool.doctor.apply import Outcome, Surgeon, lock_of
from qtool.doctor.backup import FOLDER, Backup, Journal
from qtool.doctor.case import Case
from qtool.doctor.cures import CurePlan, plan_cures
from qtool.doctor.diagnosis import diagnose
from qtool.doctor.diff import SnapshotDiff, compare
from qtool.doctor.finding import Finding
from qtool.doctor.snapshot import UNKNOWN, Snapshot, Unknown
from qtool.envs.events import OnEvent
from qtool.envs.indexes import first_reachable
from qtool.errors import EnvironmentFault, NetworkError, QtoolError
from qtool.language.message import say, together
from qtool.locks import ProcessLock

MAX_ROUNDS = 4


class Bedside(Protocol):
    """Speaks with whoever the environment belongs to."""

    def show(self, plan: CurePlan) -> None:
        """Show what is going to be done."""

    def agrees(self, question: str) -> bool:
        """Ask. Raises UsageError where nobody can be asked."""

    def note(self, text: str) -> None:
        """Say what is going on."""

    def warn(self, text: str) -> None:
        """Say what should worry."""

    def watching(self) -> AbstractContextManager[OnEvent]:
        """Show an operation while it lasts."""


class Treatment:
    """One environment under treatment.

    Attributes:
        case, findings: What is wrong now.
        plans: What was tried, in order.
        n_kept: How many of them helped and stay.
    """

    def __init__(
        self,
        case: Case,
        look_again: Callable[[], Case],
        bedside: Bedside,
        *,
        prefix: Path,
        state: Path,
    ) -> None:
        """Treat the environment in ``prefix``; ``look_again`` examines it anew.

        Locks and logs lie below ``state``.
        """
        self.case = case
        self.findings = diagnose(case)
        self.plans: list[CurePlan] = []
        self.n_kept = 0
        self._look_again = look_again
        self._bedside = bedside
        self._prefix = prefix
        self._state = state
        self._tried: set[str] = set()
        self._unreachable: set[str] = set()

    def unfinished(self) -> Journal | None:
        """Return the cure that was killed half-way; ``None`` if none was."""
        return Backup(self._prefix).unfinished()

    def plan(self) -> CurePlan:
        """Plan with what was not tried yet and with the indexes that answer."""
        while True:
            plan = self.outlook()
            indexes = plan.indexes.items()
            gone = {url for url, package in indexes if first_reachable((url,), package) is None}
            if not gone:
                return plan
            for url in sorted(gone):
                self._bedside.note(
                    say("{url} does not answer; looking for another source", url=url)
                )
            self._unreachable |= gone

    def outlook(self) -> CurePlan:
        """Plan with what is known of indexes, asking none."""
        case = replace(self.case, unreachable=frozenset(self._unreachable))
        return plan_cures(
            case, diagnose(case), unreachable=case.unreachable, tried=frozenset(self._tried)
        )

    def carry_out(self) -> SnapshotDiff:
        """Cure what can be cured and return what changed by that.

        Raises:
            QtoolError: the last cure failed; the environment is as it was before it.
            UsageError: nobody could be asked.
            ResourceError: another qtool is at work on this environment.
        """
        with lock_of(self._prefix, self._state) as lock:
            self._settle_unfinished()
            snapshot, findings = self.case.snapshot, self.findings
            self._go_through_rounds(lock)
        return compare(snapshot, self.case.snapshot, findings, self.findings)

    def _go_through_rounds(self, lock: ProcessLock) -> None:
        failure: QtoolError | None = None
        for _ in range(MAX_ROUNDS):
            plan = self.plan()
            if not plan.cures:
                break
            if failure is not None:
                self._bedside.warn(say("undone: {why}", why=failure.message))
            self._bedside.show(plan)
            if not self._bedside.agrees(say("apply this?")):
                self._bedside.note(say("nothing was changed"))
                break
            failure = self._try(plan, lock)
            if isinstance(failure, NetworkError):
                break
        if failure is not None:
            restored = say("{prefix} is as it was before", prefix=self._prefix)
            message = together((failure.message, "\n  ", restored))
            raise type(failure)(message, hint=failure.hint)

    def _try(self, plan: CurePlan, lock: ProcessLock) -> QtoolError | None:
        """Carry out one plan; return why it was undone, ``None`` where it is kept."""
        self.plans.append(plan)
        self._tried |= {"\n".join(cure.fix.commands) for cure in plan.cures}
        before = self.case.snapshot.dists
        outcome = self._operate(plan, lock)
        self.n_kept += outcome.is_kept
        if outcome.why_not is not None:
            self._check_undone(before, outcome.altered)
        return outcome.why_not

    def _operate(self, plan: CurePlan, lock: ProcessLock) -> Outcome:
        """Rehearse and carry out a plan; the log stays where it failed."""
        logs = self._state / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        path = logs / f"fix-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}.log"
        with (
            path.open("ab") as log,
            self._bedside.watching() as on_event,
            tempfile.TemporaryDirectory(prefix="qtool-fix-") as scratch,
        ):
            surgeon = Surgeon(self._prefix, lock, log, on_event)
            try:
                if not surgeon.rehearse(plan.steps, Path(scratch)):
                    self._bedside.note(
                        say("not all of it can be foretold; if it fails, it is undone")
                    )
            except QtoolError as exc:
                return Outcome(False, why_not=exc)
            outcome = surgeon.operate(plan, self.case.snapshot, self.findings, self._examine)
        if outcome.is_kept:
            path.unlink()
        return outcome

    def _settle_unfinished(self) -> None:
        """Put the environment back that a killed cure has left in between.

        Raises:
            EnvironmentFault: the user does not want that.
        """
        journal = self.unfinished()
        if journal is None:
            return
        self._bedside.warn(journal.words())
        if not self._bedside.agrees(say("put it back as it was before?")):
            raise EnvironmentFault(
                say(
                    "{prefix} is half changed; what it was is in {folder}",
                    prefix=self._prefix,
                    folder=self._prefix / FOLDER,
                )
            )
        altered = Backup(self._prefix).restore()
        self._check_undone(journal.dists or UNKNOWN, altered)
        self._bedside.note(say("{prefix} is as it was before", prefix=self._prefix))

    def _examine(self) -> tuple[Snapshot, tuple[Finding, ...]]:
        self.case = self._look_again()
        self.findings = diagnose(self.case)
        return self.case.snapshot, self.findings

    def _check_undone(self, before: Mapping[str, str] | Unknown, altered: Sequence[str]) -> None:
        """Look again and make sure that the environment is what it was.

        Raises:
            EnvironmentFault: it is not; says in what.
        """
        self._examine()
        now = self.case.snapshot.dists
        for name in altered:
            path = self._prefix / name
            self._bedside.warn(say("{path} was written into: not as before", path=path))
        if before is not UNKNOWN and now is not UNKNOWN and dict(before) != dict(now):
            differ = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
            raise EnvironmentFault(
                say(
                    "{prefix} could not be put back as it was: {names} differ",
                    prefix=self._prefix,
                    names=", ".join(differ),
                )
            )
