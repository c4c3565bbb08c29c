"""``qtool doctor --fix``: show the plan, ask, apply it, look again; or put everything back."""

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from qtool.cli.doctor_prescribe import make_prescribed
from qtool.cli.doctor_view import diff_lines, painted_lines, plan_json, plan_lines
from qtool.cli.env_view import Progress
from qtool.config import Config
from qtool.doctor.apply import environment_of
from qtool.doctor.backup import Backup
from qtool.doctor.case import Case
from qtool.doctor.cures import CurePlan
from qtool.doctor.described import format_of
from qtool.doctor.diagnosis import diagnose
from qtool.doctor.environments import recipe_for
from qtool.doctor.finding import Finding, Severity
from qtool.doctor.goals import answer_goal
from qtool.doctor.prescription import prescribe
from qtool.doctor.probes.interpreter import ASKED_FOR
from qtool.doctor.snapshot import UNKNOWN
from qtool.doctor.treatment import Treatment
from qtool.doctor.verdict import judge_format
from qtool.envs.events import OnEvent
from qtool.envs.store import Store
from qtool.errors import EnvironmentFault, ExitCode, UsageError
from qtool.language.message import Message, say, together
from qtool.output import Output

_TO_CURE = (Severity.ERROR, Severity.WARNING)


class Terminal:
    """Shows plans and asks, on a terminal or with ``-y`` without one; a ``Bedside``."""

    def __init__(self, output: Output, prefix: Path, case: Case, *, is_agreed: bool) -> None:
        """Speak through ``output``; ``is_agreed`` answers every question with yes."""
        self._output = output
        self._prefix = prefix
        goal = f" --goal {case.goal}" if case.goal else ""
        self._command = f"qtool doctor --python {shlex.quote(str(prefix))}{goal} --fix"
        self._is_agreed = is_agreed
        self._is_own = _is_qtools_own(prefix)
        self._is_named = _is_named(case)
        self._brings_cuda_for_nothing = False
        self._has_use_for_cuda = not (case.has_no_gpu and case.is_linux_x86)

    def show(self, plan: CurePlan) -> None:
        """Show what is going to be done; gigabytes of no use make no the answer of Return."""
        self._brings_cuda_for_nothing = not self._has_use_for_cuda and any(
            step.verb == "install" and "torch" in step.packages and step.index_url is None
            for step in plan.steps
        )
        for text in self.plan_texts(plan):
            self._output.note(text)

    def plan_texts(self, plan: CurePlan) -> list[str]:
        """Return a plan as painted lines."""
        return painted_lines(self._output, plan_lines(plan, str(self._prefix)))

    def agrees(self, question: str) -> bool:
        """Ask, unless the user has agreed beforehand; qtool's own environment has to be named.

        Raises:
            UsageError: nobody can be asked, or ``-y`` alone is not enough.
        """
        if self._is_agreed and self._is_own and not self._is_named:
            raise UsageError(
                say(
                    "{prefix} is the environment of qtool itself: -y changes it only by name",
                    prefix=self._prefix,
                ),
                hint=f"{self._command} -y",
            )
        default = not self._is_own and not self._brings_cuda_for_nothing
        return self._ask(question, default=default)

    def agrees_to_another(self, question: str) -> bool:
        """Ask whether to make another environment, which leaves the examined one alone.

        Raises:
            UsageError: nobody can be asked.
        """
        return self._ask(question, default=True)

    def _ask(self, question: str, *, default: bool) -> bool:
        if self._is_agreed:
            return True
        if not self._output.is_interactive:
            raise UsageError(
                say("--fix asks before it changes anything, and nobody is here to answer"),
                hint=f"{self._command} -y",
            )
        return self._output.ask(question, default=default)

    def note(self, text: str) -> None:
        """Say what is going on."""
        self._output.note(text)

    def warn(self, text: str) -> None:
        """Say what should worry."""
        self._output.warn(text)

    @contextmanager
    def watching(self) -> Iterator[OnEvent]:
        """Show an operation while it lasts."""
        with Progress(self._output) as progress:
            yield progress.on_event


def fix(
    output: Output,
    case: Case,
    look_again: Callable[[], Case],
    *,
    is_dry: bool,
    is_agreed: bool,
) -> int:
    """Cure the examined environment, or make another one; with ``is_dry`` only say how.

    What can be installed is installed. Where the examined Python may not be changed, is qtool's
    own and nobody named it, or nothing that could be installed there would do, the cure is an
    environment of qtool's making.

    Raises:
        EnvironmentFault: it is not ours to change, or no cure helped and it is as it was before.
        UsageError: nobody has agreed and nobody can be asked.
    """
    findings = diagnose(case)
    prescription = prescribe(case, findings)
    try:
        prefix = environment_of(case, Store().root)
    except EnvironmentFault as fault:
        if prescription is None and _is_healthy(case, findings):
            document = {"plan": plan_json(CurePlan()), "applied": False}
            output.result(document, [_nothing_to_cure(case, _prefix_of(case))])
            return ExitCode.OK
        if prescription is None:
            raise
        output.note(fault.message)
        terminal = Terminal(output, _prefix_of(case), case, is_agreed=is_agreed)
        return make_prescribed(output, prescription, look_again, terminal, is_dry=is_dry)
    terminal = Terminal(output, prefix, case, is_agreed=is_agreed)
    treatment = Treatment(case, look_again, terminal, prefix=prefix, state=Config().state_dir())
    is_spared = _is_qtools_own(prefix) and not _is_named(case)
    if prescription and not treatment.unfinished() and (is_spared or not treatment.plan().cures):
        if is_spared:
            stays = say("{prefix} is the environment of qtool itself, which stays as it is",
                        prefix=prefix)  # fmt: skip
            output.note(stays)
        return make_prescribed(output, prescription, look_again, terminal, is_dry=is_dry)
    if _is_qtools_own(prefix) and treatment.outlook().cures:
        itself = say("{prefix} is the environment of qtool itself: a cure may break qtool",
                     prefix=prefix)  # fmt: skip
        output.warn(itself)
    if is_dry:
        return _show_plan(output, treatment, terminal, prefix)
    return _carry_out(output, treatment, terminal, prefix)


def _is_qtools_own(prefix: Path) -> bool:
    """Tell whether qtool itself runs in an environment."""
    return prefix.resolve() == Path(sys.prefix).resolve()


def _is_named(case: Case) -> bool:
    """Tell whether the user chose the examined Python by ``--python``."""
    interpreter = case.snapshot.interpreter
    return interpreter is not UNKNOWN and interpreter.chosen_because == ASKED_FOR


def _prefix_of(case: Case) -> Path:
    interpreter = case.snapshot.interpreter
    return Path(interpreter.path).parent.parent if interpreter else Path(sys.prefix)


def _carry_out(output: Output, treatment: Treatment, terminal: Terminal, prefix: Path) -> int:
    diff = treatment.carry_out()
    rest = treatment.outlook()
    if rest.by_hand and not rest.cures:
        terminal.show(rest)
    lines = _nothing_lines(treatment, rest, prefix)
    if treatment.n_kept:
        lines = painted_lines(output, diff_lines(diff))
    document = {
        "plans": [plan_json(plan) for plan in treatment.plans],
        "applied": treatment.n_kept > 0,
        "diff": diff.to_json(),
        "findings": [finding.to_json() for finding in treatment.findings],
    }
    output.result(document, lines)
    return _exit_code(treatment)


def warn_of_unfinished(output: Output, prefix: Path) -> None:
    """Say that a cure of this environment was killed half-way, if one was."""
    journal = Backup(prefix).unfinished()
    if journal is not None:
        command = f"qtool doctor --python {shlex.quote(str(prefix))} --fix"
        back = say("{command} puts the environment back", command=command)
        output.warn(together((journal.words(), say("; "), back)))


def _show_plan(output: Output, treatment: Treatment, terminal: Terminal, prefix: Path) -> int:
    warn_of_unfinished(output, prefix)
    plan = treatment.plan()
    lines = [*terminal.plan_texts(plan), *_nothing_lines(treatment, plan, prefix)]
    output.result({"plan": plan_json(plan), "applied": False}, lines)
    return _exit_code(treatment)


def _nothing_lines(treatment: Treatment, plan: CurePlan, prefix: Path) -> list[str]:
    """Say that there is nothing to do, or nothing that could be done here."""
    if plan.cures:
        return []
    if not any(finding.severity in _TO_CURE for finding in treatment.findings):
        return [_nothing_to_cure(treatment.case, prefix)]
    command = f"qtool env create {recipe_for(treatment.case)}"
    return [
        say(
            "nothing that qtool could cure in {prefix}; or: {command}",
            prefix=prefix,
            command=command,
        )
    ]


def _nothing_to_cure(case: Case, prefix: Path) -> Message:
    """Say that nothing is wrong, or that it is no matter: another environment runs the model."""
    form = case.model.format if case.model else format_of(case.goal)
    name = judge_format(case, form).environment if form else None
    if name:
        return say(
            "not needed: the environment {name} runs it (--env {name}); {prefix} stays as it is",
            name=name, prefix=prefix,
        )  # fmt: skip
    return say("nothing to cure in {prefix}", prefix=prefix)


def _is_healthy(case: Case, findings: Sequence[Finding]) -> bool:
    """Tell whether there is nothing that a cure could be for."""
    answer = answer_goal(case, findings)
    is_denied = answer is not None and answer.runs is False
    return not is_denied and not any(f.severity in _TO_CURE for f in findings)


def _exit_code(treatment: Treatment) -> int:
    is_bad = any(finding.severity is Severity.ERROR for finding in treatment.findings)
    answer = answer_goal(treatment.case, treatment.findings)
    is_denied = answer is not None and answer.runs is False
    return ExitCode.FINDINGS if is_bad or is_denied else ExitCode.OK
