"""``qtool doctor``: what is wrong with this machine for this model, and the exact cure."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from qtool.cli.doctor_options import ExamineFlags, FixFlags, ReportFlags
from qtool.cli.doctor_question import Question, read_question
from qtool.cli.doctor_report import show_diagnosis, show_difference
from qtool.cli.flags import takes_flags
from qtool.cli.language import choose_language
from qtool.cli.options import VoiceFlags
from qtool.errors import UsageError
from qtool.language.message import say
from qtool.output import Output

if TYPE_CHECKING:
    from qtool.doctor.case import Case
    from qtool.doctor.snapshot import Snapshot

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
@takes_flags
def doctor(examined: ExamineFlags, report: ReportFlags, fixing: FixFlags, voice: VoiceFlags) -> int:
    """Say whether this machine runs the model, why not, and what cures it.

    Nothing is imported without --deep, and nothing is changed without --fix. Exits with 1 if
    something is wrong, or if the model or the goal cannot run here.
    """
    output = voice.make_output()
    output.language = choose_language(report.language)
    examined.check()
    report.check()
    fixing.check(examined, report)
    question = read_question(examined, output)
    case = question.about_what_is_asked(output)
    if report.save:
        _save(case.snapshot, report.save)
        output.note(say("saved {path}", path=report.save))
    if fixing.is_fixing:
        return _fix(output, question, case, fixing)
    if examined.snapshot_file is None:
        _warn_of_unfinished_cure(output, case.snapshot)
    if report.diff_file:
        return show_difference(output, question, case, report)
    code = show_diagnosis(output, case, report, has_goal=question.asked.goal is not None)
    if examined.is_running:
        from qtool.cli.doctor_deep import say_what_was_not_run

        say_what_was_not_run(output, case)
    return code


def _fix(output: Output, question: Question, case: "Case", fixing: FixFlags) -> int:
    from qtool.cli.doctor_fix import fix

    def look_again() -> "Case":
        return question.about_this_machine(output)

    return fix(output, case, look_again, is_dry=fixing.is_dry, is_agreed=fixing.is_agreed)


def _warn_of_unfinished_cure(output: Output, snapshot: "Snapshot") -> None:
    interpreter = snapshot.interpreter
    prefix = Path(interpreter.path).parent.parent if interpreter else None
    if prefix and (prefix / ".qtool-fix").is_dir():
        from qtool.cli.doctor_fix import warn_of_unfinished

        warn_of_unfinished(output, prefix)


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
        message = say("cannot write {path}: {why}", path=path, why=exc.strerror)
        raise UsageError(message) from exc
