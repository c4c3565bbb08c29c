"""The options of ``qtool doctor``, and which of them make no sense together."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from qtool.doctor.finding import Goal
from qtool.errors import UsageError
from qtool.language.message import say
from qtool.language.translation import Language

Model = Annotated[
    str | None,
    typer.Argument(help="A GGUF file, a folder, a starter, or org/name[:QUANT], here or on a hub."),
]
Wanted = Annotated[
    Goal | None, typer.Option("--goal", help="What you want to run; a model's format decides else.")
]
Python = Annotated[
    str | None,
    typer.Option("--python", help="Interpreter or environment to examine (default: the active)."),
]
Context = Annotated[int | None, typer.Option("--ctx", min=1, help="Context length in tokens.")]
Deep = Annotated[
    bool,
    typer.Option("--deep", help="Import each relevant module for real, each in its own process."),
]
Run = Annotated[
    bool,
    typer.Option("--run", help="Run the real kernels, compare them with fp32, and time them."),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout", min=1, help="Seconds that each module of --deep and kernel of --run gets."
    ),
]
SnapshotFile = Annotated[
    str | None,
    typer.Option("--snapshot", help="Examine this saved snapshot (FILE.json or FILE.json#ID)."),
]
Save = Annotated[
    Path | None,
    typer.Option("--save", help="Save the snapshot here, without names of people and machines."),
]
Diff = Annotated[
    str | None, typer.Option("--diff", help="Say what changed since this saved snapshot.")
]
Markdown = Annotated[
    bool, typer.Option("--markdown", help="Print the report as Markdown, to paste into an issue.")
]
Lang = Annotated[
    Language | None,
    typer.Option("--lang", help="Language of the report (default: ui.lang, else the locale's)."),
]
Fixing = Annotated[
    bool, typer.Option("--fix", help="Cure the examined environment; shows the plan and asks.")
]
Dry = Annotated[bool, typer.Option("--dry-run", help="With --fix: only show the plan.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="With --fix: apply it without asking.")]


@dataclass(frozen=True, slots=True)
class ExamineFlags:
    """What is examined, for what, and how far the looking goes."""

    model: Model = None
    goal: Wanted = None
    python: Python = None
    n_ctx_tokens: Context = None
    is_deep: Deep = False
    is_running: Run = False
    timeout_s: Timeout = None
    snapshot_file: SnapshotFile = None

    def check(self) -> None:
        """Refuse options that another one makes void.

        Raises:
            UsageError: says which.
        """
        if self.snapshot_file is None:
            return
        if self.python is not None:
            raise UsageError(
                say("--snapshot is another machine: there is no interpreter to examine")
            )
        if self.is_deep or self.is_running:
            raise UsageError(
                say("--snapshot is another machine: nothing can be imported or run there")
            )


@dataclass(frozen=True, slots=True)
class ReportFlags:
    """What becomes of the result."""

    save: Save = None
    diff_file: Diff = None
    is_markdown: Markdown = False
    language: Lang = None

    def check(self) -> None:
        """Make sure that ``--save`` would replace nothing but a snapshot.

        Raises:
            UsageError: something else is there.
        """
        if self.save is not None:
            from qtool.doctor.snapshot_file import check_replaceable

            check_replaceable(self.save)


@dataclass(frozen=True, slots=True)
class FixFlags:
    """What is done about it."""

    is_fixing: Fixing = False
    is_dry: Dry = False
    is_agreed: Yes = False

    def check(self, examined: ExamineFlags, report: ReportFlags) -> None:
        """Refuse options that another one makes void.

        Raises:
            UsageError: says which.
        """
        if (self.is_dry or self.is_agreed) and not self.is_fixing:
            raise UsageError(
                say("--dry-run and -y belong to --fix"), hint="qtool doctor --fix --dry-run"
            )
        if self.is_fixing and examined.snapshot_file:
            raise UsageError(say("--snapshot is another machine: there is nothing here to fix"))
        if (self.is_fixing or report.diff_file) and report.is_markdown:
            raise UsageError(say("--markdown prints a report; run it without --fix and --diff"))
        if self.is_fixing and report.diff_file:
            raise UsageError(say("--fix shows a difference of its own; run --diff before or after"))
