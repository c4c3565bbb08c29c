"""``qtool doctor --fix`` where an environment of qtool's own is the cure: plan, consent, making."""

from collections.abc import Callable, Sequence
from typing import Protocol

from qtool.cli.doctor_view import painted_lines
from qtool.cli.env_create import create_environment
from qtool.cli.env_view import created_lines
from qtool.doctor.case import Case
from qtool.doctor.diagnosis import diagnose
from qtool.doctor.finding import Finding, Severity
from qtool.doctor.lines import Line, LineKind
from qtool.doctor.prescription import Prescription
from qtool.errors import ExitCode
from qtool.language.message import say, together
from qtool.output import Output


class Guide(Protocol):
    """Speaks with the user."""

    def agrees_to_another(self, question: str) -> bool:
        """Ask. Raises UsageError where nobody can be asked."""


def make_prescribed(
    output: Output,
    prescription: Prescription,
    look_again: Callable[[], Case],
    guide: Guide,
    *,
    is_dry: bool,
) -> int:
    """Show the environment that is to be made, ask, make it, and say how to use it.

    Raises:
        UsageError: nobody has agreed and nobody can be asked.
        QtoolError: it could not be made; nothing is left behind.
    """
    texts = painted_lines(output, _plan_lines(prescription))
    plan = {"environment": prescription.recipe, "then": list(prescription.runs)}
    if is_dry:
        output.result({"plan": plan, "applied": False}, texts)
        return ExitCode.FINDINGS
    for text in texts:
        output.note(text)
    if not guide.agrees_to_another(say("make it?")):
        output.result({"plan": plan, "applied": False}, [say("nothing was made")])
        return ExitCode.FINDINGS
    environment, _ = create_environment(output, prescription.recipe)
    findings = diagnose(look_again())
    shown = list(created_lines(environment, is_new=True))
    shown += [say("now: {command}", command=command) for command in prescription.runs]
    document = {
        "plan": plan,
        "applied": True,
        "environment": environment.to_json(),
        "findings": [finding.to_json() for finding in findings],
    }
    output.result(document, shown)
    return _exit_code(findings)


def _plan_lines(prescription: Prescription) -> Sequence[Line]:
    return (
        Line(
            LineKind.SUMMARY,
            say("plan: an environment of its own; the examined one stays as it is"),
        ),
        Line(LineKind.TEXT, together((f"  1. {prescription.code}", say(": "), prescription.title))),
        Line(LineKind.COMMAND, f"      qtool env create {prescription.recipe}"),
        *(Line(LineKind.TEXT, say("  then: {command}", command=one)) for one in prescription.runs),
    )


def _exit_code(findings: Sequence[Finding]) -> int:
    is_bad = any(finding.severity is Severity.ERROR for finding in findings)
    return ExitCode.FINDINGS if is_bad else ExitCode.OK
