"""How environments look on a terminal, and while they are made."""

import re
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from qtool.cli.doctor_view import SHOWN_FIRST
from qtool.envs.environment import Environment
from qtool.envs.events import Event, Noticed, StepStarted, ToolSaid
from qtool.envs.order import Plan
from qtool.envs.recipes import Recipe
from qtool.language.message import say, together
from qtool.output import Output, without_controls
from qtool.units import format_size

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

_WORTH_SHOWING = re.compile(
    r"^\s*(Collecting|Downloading|Building|Installing|Preparing|Resolved|Prepared|Installed|"
    r"Getting|Using cached|Processing|Looking)\b"
)


def plan_lines(plan: Plan) -> Iterator[str]:
    """Yield what is about to be made, in two lines at most."""
    python = f"Python {plan.python.version}" + (
        f" ({plan.python.path})" if plan.python.path else ""
    )
    recipe, variant = plan.order.recipe, plan.variant
    yield together((f"{recipe.name} ({variant.name})", say(": "), recipe.summary))
    yield say(
        "with {python}, {installer} ({why}); about {size} on disk",
        python=python,
        installer=plan.installer.kind,
        why=plan.installer.why,
        size=format_size(variant.disk_bytes),
    )
    if not variant.tested:
        yield say("this variant was written from documents and not run by us; its probe decides")


def created_lines(environment: Environment, *, is_new: bool) -> Iterator[str]:
    """Yield the result of ``create``."""
    if is_new:
        yield say("{name} made: qtool chat MODEL --env {name}", name=environment.name)
    else:
        yield say("{name} is here already: qtool chat MODEL --env {name}", name=environment.name)
    yield from (say("  proven: {what}", what=line) for line in environment.proof)


def list_lines(environments: Sequence[Environment], recipes: Mapping[str, Recipe]) -> Iterator[str]:
    """Yield what there is, then what could be made."""
    for one in environments:
        size = format_size(one.size_bytes)
        words = f"{one.name:14} {_versions(one)}, Python {one.python_version}, {size}"
        gone = say("  (its Python is gone: make it anew with --force)")
        yield words if one.is_intact else together((words, gone))
    rest = [one for name, one in recipes.items() if name not in {e.name for e in environments}]
    if rest:
        yield "" if environments else say("no environments yet")
        yield say("recipes (qtool env create NAME):")
        yield from (together((f"  {one.name:14} ", one.summary)) for one in rest)


def show_lines(environment: Environment) -> Iterator[str]:
    """Yield everything about one environment."""
    yield say("{name}: recipe {recipe} ({variant})", name=environment.name,
              recipe=environment.recipe, variant=environment.variant)  # fmt: skip
    yield say("  python   {path} ({version})",
              path=environment.python, version=environment.python_version)  # fmt: skip
    yield say("  engine   {engine}, for {formats}",
              engine=environment.engine, formats=", ".join(environment.serves))  # fmt: skip
    yield say("  made     {time}, {size}",
              time=environment.created_at, size=format_size(environment.size_bytes))  # fmt: skip
    yield from (say("  proven   {what}", what=line) for line in environment.proof)
    if not environment.is_intact:
        again = f"qtool env create {environment.recipe} --force"
        yield say("  broken   its Python is gone: {command}", command=again)
    yield from (f"  {name}=={version}" for name, version in environment.versions.items())


def _versions(environment: Environment) -> str:
    known = [name for name in SHOWN_FIRST if name in environment.versions][:4]
    return ", ".join(f"{name} {environment.versions[name]}" for name in known) or environment.recipe


class Progress:
    """Shows each step as a line and, on a terminal, the installer's last word beneath it."""

    def __init__(self, output: Output) -> None:
        """Draw on ``output``'s stderr, in place only where that is a terminal."""
        self._output = output
        self._bar = _make_bar(output) if output.is_animated else None
        self._task: TaskID | None = None

    def __enter__(self) -> "Progress":
        """Begin."""
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave a clean line behind."""
        if self._bar:
            self._bar.stop()

    def on_event(self, event: Event) -> None:
        """Show what happened."""
        match event:
            case StepStarted():
                self._say(together((f"[{event.index}/{event.total}] ", event.title)))
                self._restart()
            case Noticed():
                self._say(event.text)
            case ToolSaid() if _WORTH_SHOWING.match(event.line):
                self._show(event.line.strip())

    def _say(self, line: str) -> None:
        if self._bar:
            self._bar.console.print(self._output.words(line), markup=False, highlight=False)
        else:
            self._output.note(line)

    def _restart(self) -> None:
        if self._bar:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(self._output.words(say("working …")), total=None)

    def _show(self, text: str) -> None:
        if self._bar and self._task is not None:
            self._bar.update(self._task, description=without_controls(text))


def _make_bar(output: Output) -> "Bar":
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.table import Column

    text = TextColumn(
        "{task.description}",
        markup=False,
        table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
    )
    columns = (TextColumn("     "), SpinnerColumn("line"), TimeElapsedColumn(), text)
    return Progress(*columns, console=Console(file=output.stderr), transient=True, expand=True)
