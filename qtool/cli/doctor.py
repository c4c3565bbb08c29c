"""``qtool doctor``: what is wrong with this machine for this model, and the exact cure."""

import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qtool.cli.options import Debug, Json, Quiet, make_output
from qtool.doctor.finding import Finding, Goal, Severity
from qtool.errors import ExitCode, UsageError
from qtool.output import Output, Style

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtool.doctor.case import Case
    from qtool.doctor.goals import GoalAnswer
    from qtool.doctor.report import Line
    from qtool.doctor.snapshot import Snapshot
    from qtool.doctor.verdict import Verdict
    from qtool.models.info import ModelInfo

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)

STYLES: dict[str, tuple[Style, ...]] = {
    "error": (Style.RED, Style.BOLD),
    "warning": (Style.YELLOW, Style.BOLD),
    "ok": (Style.GREEN,),
    "info": (Style.DIM,),
    "command": (Style.CYAN,),
}


@app.command()
def doctor(
    model: Annotated[
        str | None,
        typer.Argument(help="A GGUF file, a model's folder, or the name of a starter model."),
    ] = None,
    goal: Annotated[
        Goal | None, typer.Option(help="What you want to run; a model's format decides else.")
    ] = None,
    python: Annotated[
        str | None,
        typer.Option(help="Interpreter or environment to examine (default: the active one)."),
    ] = None,
    ctx: Annotated[int | None, typer.Option(min=1, help="Context length in tokens.")] = None,
    snapshot_file: Annotated[
        str | None,
        typer.Option("--snapshot", help="Examine this saved snapshot (FILE.json or FILE.json#ID)."),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(help="Save the snapshot here, without names of people and machines."),
    ] = None,
    is_json: Json = False,
    is_quiet: Quiet = False,
    is_debug: Debug = False,
) -> int:
    """Say whether this machine runs the model, why not, and what cures it.

    Nothing is imported or changed. Exits with 1 if something is wrong, or if the model or the goal
    cannot run here.
    """
    from qtool.doctor.case import make_case
    from qtool.doctor.diagnosis import diagnose
    from qtool.doctor.goals import answer_goal
    from qtool.doctor.verdict import judge

    output = make_output(is_json, is_quiet, is_debug)
    info = _inspect(model) if model else None
    if info and ctx:
        _check_context(info, ctx, model)
    snapshot, goal_of_file = _obtain_snapshot(snapshot_file, python, has_model=info is not None)
    _say_which_python(output, snapshot)
    if save:
        _save(snapshot, save)
        output.note(f"saved {save}")
    case = make_case(snapshot, goal or (None if info else goal_of_file), info, ctx)
    findings, verdict = diagnose(case), judge(case)
    answer = answer_goal(case, findings) if goal else None
    document = _to_json(findings, verdict, answer, snapshot)
    output.result(document, _lines(output, case, findings, verdict, answer))
    is_bad = any(finding.severity is Severity.ERROR for finding in findings)
    cannot_run = case.model is not None and not all(one.runs for one in verdict.values())
    is_denied = answer is not None and answer.runs is False
    return ExitCode.FINDINGS if is_bad or cannot_run or is_denied else ExitCode.OK


def _inspect(text: str) -> "ModelInfo":
    """Read the headers of a model that is on this machine.

    Raises:
        NotFoundError: it is not here; models that are still on a hub cannot be examined yet.
    """
    from qtool.config import Config
    from qtool.models.formats import inspect_model
    from qtool.models.local import locate_model

    model = locate_model(text, cache_dir=Config().cache_dir())
    return inspect_model(model.path, quant=model.quant)


def _check_context(info: "ModelInfo", wanted_tokens: int, model: str | None) -> None:
    """Refuse a context that the model was not made for, as ``qtool chat`` does.

    Raises:
        UsageError: it is longer than the model's own.
    """
    longest = info.context_length_tokens
    if longest and wanted_tokens > longest:
        raise UsageError(
            f"--ctx {wanted_tokens}: {info.path.name} was made for at most {longest} tokens",
            hint=f"qtool doctor {shlex.quote(model or '')} --ctx {longest}",
        )


def _obtain_snapshot(
    file: str | None, python: str | None, *, has_model: bool
) -> "tuple[Snapshot, Goal | None]":
    if file is None:
        from qtool.doctor.probes.take import take_snapshot

        return take_snapshot(os.environ, python=python, needs_bandwidth=has_model), None
    if python is not None:
        raise UsageError("--snapshot is another machine: there is no interpreter to examine")
    from qtool.doctor.snapshot_file import load

    return load(file)


def _say_which_python(output: Output, snapshot: "Snapshot") -> None:
    """Say that qtool's own environment was not examined, where one could think it was."""
    from qtool.doctor.probes.interpreter import FIRST_ON_PATH

    interpreter = snapshot.interpreter
    if (
        not interpreter
        or interpreter.chosen_because != FIRST_ON_PATH
        or sys.prefix == sys.base_prefix
    ):
        return
    output.note(f"examined {interpreter.path}, {FIRST_ON_PATH}, for no environment is active;")
    output.note(f"for another: qtool doctor --python PATH (qtool's own: {sys.prefix})")


def _save(snapshot: "Snapshot", path: Path) -> None:
    """Write the snapshot as JSON, home folder, host and user names removed.

    Raises:
        UsageError: the file cannot be written.
    """
    import getpass
    import platform

    from qtool.doctor.redact import redact
    from qtool.doctor.snapshot_writer import to_mapping

    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # no such user id, or Windows without the variable
        user = ""
    document = redact(to_mapping(snapshot), home=str(Path.home()), host=platform.node(), user=user)
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
) -> list[str]:
    from qtool.doctor.report import report_lines

    if output.is_json:
        return []
    lines = report_lines(case, findings, verdict, answer)
    return [text for line in lines for text in _painted(output, line)]


def _painted(output: Output, line: "Line") -> list[str]:
    """Wrap prose to a terminal's width, never a command; then paint it."""
    styles = STYLES.get(line.kind, ())
    texts = [line.text]
    if output.stdout.isatty() and line.kind != "command" and line.text:
        import shutil
        import textwrap

        indent = " " * (len(line.text) - len(line.text.lstrip()))
        width = max(40, min(shutil.get_terminal_size().columns, 100))
        texts = textwrap.wrap(line.text, width, initial_indent="", subsequent_indent=indent)
    return [output.paint(text, *styles) if styles else text for text in texts]
