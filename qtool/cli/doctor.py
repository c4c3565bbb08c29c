"""``qtool doctor``: what is wrong with this machine for this model, and the exact cure."""

import json
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from qtool.cli.doctor_options import ExamineFlags, FixFlags, ReportFlags
from qtool.cli.doctor_view import painted
from qtool.cli.flags import takes_flags
from qtool.cli.language import choose_language
from qtool.cli.options import VoiceFlags
from qtool.doctor.finding import Finding, Goal, Severity
from qtool.errors import ExitCode, UsageError
from qtool.output import Output

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from qtool.doctor.case import Case
    from qtool.doctor.goals import GoalAnswer
    from qtool.doctor.lines import Line
    from qtool.doctor.snapshot import Snapshot
    from qtool.doctor.verdict import Verdict
    from qtool.envs.environment import Environment
    from qtool.language.translation import Language
    from qtool.models.info import ModelInfo

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked about a machine, whichever it is."""

    asked: ExamineFlags
    info: "ModelInfo | None"

    def about(self, snapshot: "Snapshot", goal_of_file: Goal | None = None) -> "Case":
        """Return the case of a snapshot."""
        from qtool.doctor.case import make_case

        goal = self.asked.goal or (None if self.info else goal_of_file)
        return make_case(
            snapshot, goal, self.info, self.asked.n_ctx_tokens, environments=self._environments()
        )

    def _environments(self) -> "Iterable[Environment]":
        """Return what ``qtool env`` made here; of another machine's that is not known."""
        if self.asked.snapshot_file is not None:
            return ()
        from qtool.envs.store import Store

        return Store().all()

    def about_this_machine(self, output: Output) -> "Case":
        """Take a snapshot, as deep as asked, and return its case."""
        return self._measured(output, self.about(_obtain_snapshot(output, self.asked)[0]))

    def about_what_is_asked(self, output: Output, language: "Language") -> "Case":
        """Return the case of this machine, or of the snapshot that was named."""
        snapshot, goal_of_file = _obtain_snapshot(output, self.asked)
        _say_which_python(output, snapshot, language)
        return self._measured(output, self.about(snapshot, goal_of_file))

    def _measured(self, output: Output, case: "Case") -> "Case":
        if not self.asked.is_running:
            return case
        from qtool.cli.doctor_deep import run_kernels

        return run_kernels(output, self.asked, case)


@app.command()
@takes_flags
def doctor(examined: ExamineFlags, report: ReportFlags, fixing: FixFlags, voice: VoiceFlags) -> int:
    """Say whether this machine runs the model, why not, and what cures it.

    Nothing is imported without --deep, and nothing is changed without --fix. Exits with 1 if
    something is wrong, or if the model or the goal cannot run here.
    """
    output = voice.make_output()
    examined.check()
    report.check()
    fixing.check(examined, report)
    info = _inspect(examined.model, output) if examined.model else None
    if info and examined.n_ctx_tokens:
        _check_context(info, examined.n_ctx_tokens, examined.model)
    question = _Question(examined, info)
    case = question.about_what_is_asked(output, choose_language(report.language))
    if report.save:
        _save(case.snapshot, report.save)
        output.note(f"saved {report.save}")
    if fixing.is_fixing:
        from qtool.cli.doctor_fix import fix

        def again() -> "Case":
            return question.about_this_machine(output)

        return fix(
            output,
            case,
            again,
            is_dry=fixing.is_dry,
            is_agreed=fixing.is_agreed,
            language=choose_language(report.language),
        )
    if examined.snapshot_file is None:
        _warn_of_unfinished_cure(output, case.snapshot)
    if report.diff_file:
        return _show_difference(output, question, case, report)
    has_goal = examined.goal is not None
    return _show_diagnosis(output, case, report, has_goal=has_goal)


def _show_diagnosis(output: Output, case: "Case", report: ReportFlags, *, has_goal: bool) -> int:
    from qtool.doctor.diagnosis import diagnose
    from qtool.doctor.goals import answer_goal
    from qtool.doctor.verdict import judge

    findings, verdict = diagnose(case), judge(case)
    answer = answer_goal(case, findings) if has_goal else None
    document = _to_json(findings, verdict, answer, case.snapshot)
    language = choose_language(report.language)
    if report.is_markdown:
        from qtool.doctor.markdown import markdown_lines
        from qtool.doctor.sharing import for_sharing

        lines = [*markdown_lines(case, findings, verdict, language), *_kernel_block(case)]
        output.result(document, for_sharing(lines))
    else:
        found = _lines(output, case, findings, verdict, answer)
        output.result(document, _painted(output, found, language))
    is_bad = any(finding.severity is Severity.ERROR for finding in findings)
    cannot_run = case.model is not None and not all(one.runs for one in verdict.values())
    if cannot_run and case.model is not None:
        from qtool.models.other_ways import other_way

        if way := other_way(case.model):
            output.note(way)
    is_denied = answer is not None and answer.runs is False
    return ExitCode.FINDINGS if is_bad or cannot_run or is_denied else ExitCode.OK


def _kernel_block(case: "Case") -> "Iterator[str]":
    """Yield the table of the kernels as a block of code."""
    if case.snapshot.kernel_runs:
        from qtool.doctor.deep.kernel_report import kernel_lines

        yield from ("", "```text")
        yield from (line.text for line in kernel_lines(case.snapshot.kernel_runs) if line.text)
        yield "```"


def _show_difference(output: Output, question: _Question, case: "Case", report: ReportFlags) -> int:
    """Say what changed since a saved snapshot, and which findings came and went."""
    from qtool.cli.doctor_view import diff_lines
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
    output.result(document, _painted(output, diff_lines(diff), choose_language(report.language)))
    is_bad = any(finding.severity is Severity.ERROR for finding in findings)
    return ExitCode.FINDINGS if is_bad else ExitCode.OK


def _warn_of_unfinished_cure(output: Output, snapshot: "Snapshot") -> None:
    interpreter = snapshot.interpreter
    prefix = Path(interpreter.path).parent.parent if interpreter else None
    if prefix and (prefix / ".qtool-fix").is_dir():
        from qtool.cli.doctor_fix import warn_of_unfinished

        warn_of_unfinished(output, prefix)


def _inspect(text: str, output: Output) -> "ModelInfo":
    """Read the headers of a model that is on this machine.

    Raises:
        NotFoundError: it is not here; models that are still on a hub cannot be examined yet.
    """
    from qtool.cli.hub_model import locate_here
    from qtool.config import Config
    from qtool.models.formats import inspect_model

    model = locate_here(text, Config(), output)
    return inspect_model(model.path, quant=model.quant)


def _check_context(info: "ModelInfo", wanted_tokens: int, model: str | None) -> None:
    """Refuse a context that the model was not made for, as ``qtool chat`` does.

    Raises:
        UsageError: it is longer than the model's own.
    """
    from qtool.models.local import title_of

    longest = info.context_length_tokens
    if longest and wanted_tokens > longest:
        raise UsageError(
            f"--ctx {wanted_tokens}: {title_of(info.path)} was made for at most {longest} tokens",
            hint=f"qtool doctor {shlex.quote(model or '')} --ctx {longest}",
        )


def _obtain_snapshot(output: Output, examined: ExamineFlags) -> "tuple[Snapshot, Goal | None]":
    """Return the snapshot to look at, and the goal that a saved one names."""
    if examined.snapshot_file is not None:
        from qtool.doctor.snapshot_file import load

        return load(examined.snapshot_file)
    from qtool.doctor.probes.take import take_snapshot

    needs_bandwidth = examined.model is not None or examined.is_running
    snapshot = take_snapshot(os.environ, python=examined.python, needs_bandwidth=needs_bandwidth)
    if examined.is_deep:
        from qtool.cli.doctor_deep import import_modules

        snapshot = import_modules(output, examined, snapshot)
    return snapshot, None


def _say_which_python(output: Output, snapshot: "Snapshot", language: "Language") -> None:
    """Say that qtool's own environment was not examined, where one could think it was."""
    from qtool.doctor.probes.interpreter import FIRST_ON_PATH
    from qtool.language.message import say
    from qtool.language.translation import translate

    interpreter = snapshot.interpreter
    if (
        not interpreter
        or interpreter.chosen_because != FIRST_ON_PATH
        or sys.prefix == sys.base_prefix
    ):
        return
    lines = (
        say(
            "examined {path}, the first python3 on PATH, for no environment is active;",
            path=interpreter.path,
        ),
        say("for another: qtool doctor --python PATH (qtool's own: {prefix})", prefix=sys.prefix),
    )
    for line in lines:
        output.note(translate(line, language))


def _save(snapshot: "Snapshot", path: Path) -> None:
    """Write the snapshot as JSON, home folder, host and user names removed.

    Raises:
        UsageError: the file cannot be written.
    """
    from qtool.doctor.sharing import for_sharing
    from qtool.doctor.snapshot_writer import to_mapping

    document = for_sharing(to_mapping(snapshot))
    try:
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    except OSError as exc:
        raise UsageError(f"cannot write {path}: {exc.strerror}") from exc


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

        lines += kernel_lines(case.snapshot.kernel_runs)
    return lines


def _import_lines(case: "Case") -> "Iterator[Line]":
    """Yield what became of each import, where --deep was asked for."""
    from qtool.doctor.snapshot import UNKNOWN

    if case.snapshot.imports is not UNKNOWN:
        from qtool.doctor.deep.import_report import import_lines

        yield from import_lines(case)


def _painted(output: Output, lines: "Iterable[Line]", language: "Language") -> list[str]:
    from qtool.doctor.lines import translated

    return [text for line in translated(lines, language) for text in painted(output, line)]
