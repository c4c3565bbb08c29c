"""What ``qtool doctor`` answers: a diagnosis, or a difference to an earlier snapshot."""

from typing import TYPE_CHECKING, Any

from qtool.cli.doctor_options import ReportFlags
from qtool.cli.doctor_view import diff_lines, painted_lines
from qtool.doctor.finding import Severity
from qtool.errors import ExitCode
from qtool.output import Output

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qtool.cli.doctor_question import Question
    from qtool.doctor.case import Case
    from qtool.doctor.finding import Finding
    from qtool.doctor.goals import GoalAnswer
    from qtool.doctor.lines import Line
    from qtool.doctor.snapshot import Snapshot
    from qtool.doctor.verdict import Verdict


def show_diagnosis(output: Output, case: "Case", report: ReportFlags, *, has_goal: bool) -> int:
    """Show what was found; return the exit code."""
    from qtool.doctor.diagnosis import diagnose
    from qtool.doctor.goals import answer_goal
    from qtool.doctor.verdict import judge

    findings, verdict = diagnose(case), judge(case)
    answer = answer_goal(case, findings) if has_goal else None
    document = _to_json(findings, verdict, answer, case.snapshot)
    if report.is_markdown:
        from qtool.doctor.markdown import markdown_lines
        from qtool.doctor.sharing import for_sharing

        lines = [
            *markdown_lines(case, findings, verdict, output.language),
            *_kernel_block(case, output),
        ]
        output.result(document, for_sharing(lines))
    else:
        found = _lines(output, case, findings, verdict, answer)
        output.result(document, painted_lines(output, found))
    is_bad = any(finding.severity is Severity.ERROR for finding in findings)
    cannot_run = case.model is not None and not all(one.runs for one in verdict.values())
    if cannot_run and case.model is not None and case.model.path.exists():
        from qtool.models.other_ways import other_way

        if way := other_way(case.model):
            output.note(way)
    is_denied = answer is not None and answer.runs is False
    return ExitCode.FINDINGS if is_bad or cannot_run or is_denied else ExitCode.OK


def _kernel_block(case: "Case", output: Output) -> "Iterator[str]":
    """Yield the table of the kernels as a block of code."""
    if case.snapshot.kernel_runs:
        from qtool.doctor.deep.kernel_report import kernel_lines

        yield from ("", "```text")
        lines = kernel_lines(case.snapshot.kernel_runs, case, output.language)
        yield from (output.words(line.text) for line in lines if line.text)
        yield "```"


def show_difference(output: Output, question: "Question", case: "Case", report: ReportFlags) -> int:
    """Say what changed since a saved snapshot, and which findings came and went."""
    from qtool.doctor.diagnosis import diagnose
    from qtool.doctor.diff import compare
    from qtool.doctor.sharing import for_sharing
    from qtool.doctor.snapshot_file import load
    from qtool.doctor.snapshot_writer import to_mapping

    before, goal_of_file = load(report.diff_file or "")
    findings = diagnose(case)
    findings_before = diagnose(question.about(before, goal_of_file))
    diff = compare(before, case.snapshot, findings_before, findings, mask=for_sharing)
    document = {
        "diff": diff.to_json(),
        "findings": [finding.to_json() for finding in findings],
        "snapshot": to_mapping(case.snapshot),
    }
    output.result(document, painted_lines(output, diff_lines(diff)))
    is_bad = any(finding.severity is Severity.ERROR for finding in findings)
    return ExitCode.FINDINGS if is_bad else ExitCode.OK


def _to_json(
    findings: "Sequence[Finding]",
    verdict: "Verdict",
    answer: "GoalAnswer | None",
    snapshot: "Snapshot",
) -> dict[str, Any]:
    from qtool.doctor.snapshot_writer import to_mapping

    return {
        "goal": answer.to_json() if answer else None,
        "findings": [finding.to_json() for finding in findings],
        "verdict": {name: one.to_json() for name, one in verdict.items()},
        "snapshot": to_mapping(snapshot),
    }


def _lines(
    output: Output,
    case: "Case",
    findings: "Sequence[Finding]",
    verdict: "Verdict",
    answer: "GoalAnswer | None",
) -> "list[Line]":
    from qtool.doctor.report import report_lines

    if output.is_json:
        return []
    lines = list(report_lines(case, findings, verdict, answer))
    lines += _import_lines(case)
    if case.snapshot.kernel_runs:
        from qtool.doctor.deep.kernel_report import kernel_lines

        lines += kernel_lines(case.snapshot.kernel_runs, case, output.language)
    return lines


def _import_lines(case: "Case") -> "Iterator[Line]":
    """Yield what became of each import, where --deep was asked for."""
    from qtool.doctor.snapshot import UNKNOWN

    if case.snapshot.imports is not UNKNOWN:
        from qtool.doctor.deep.import_report import import_lines

        yield from import_lines(case)
