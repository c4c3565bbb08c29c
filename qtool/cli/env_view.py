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
    yield f"{recipe.name} ({variant.name}): {recipe.summary}"
    yield f"with {python}, {plan.installer.kind} ({plan.installer.why})"
    if not variant.tested:
        yield "this variant was written from documents and not run by us; its probe decides"


def created_lines(environment: Environment, *, is_new: bool) -> Iterator[str]:
    """Yield the result of ``create``."""
    what = "made" if is_new else "is here already"
    yield f"{environment.name} {what}: {environment.python}"
    yield from (f"  proven: {line}" for line in environment.proof)


def list_lines(environments: Sequence[Environment], recipes: Mapping[str, Recipe]) -> Iterator[str]:
    """Yield what there is, then what could be made."""
    for one in environments:
        state = "" if one.is_intact else "  (its Python is gone: make it anew with --force)"
        size = format_size(one.size_bytes)
        yield f"{one.name:14} {_versions(one)}, Python {one.python_version}, {size}{state}"
    rest = [one for name, one in recipes.items() if name not in {e.name for e in environments}]
    if rest:
        yield "" if environments else "no environments yet"
        yield "recipes (qtool env create NAME):"
        yield from (f"  {one.name:14} {one.summary}" for one in rest)


def show_lines(environment: Environment) -> Iterator[str]:
    """Yield everything about one environment."""
    yield f"{environment.name}: recipe {environment.recipe} ({environment.variant})"
    yield f"  python   {environment.python} ({environment.python_version})"
    yield f"  engine   {environment.engine}, for {', '.join(environment.serves)}"
    yield f"  made     {environment.created_at}, {format_size(environment.size_bytes)}"
    yield from (f"  proven   {line}" for line in environment.proof)
    if not environment.is_intact:
        yield f"  broken   its Python is gone: qtool env create {environment.recipe} --force"
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
                self._say(f"[{event.index}/{event.total}] {event.title}")
                self._restart()
            case Noticed():
                self._say(event.text)
            case ToolSaid() if _WORTH_SHOWING.match(event.line):
                self._show(event.line.strip())

    def _say(self, line: str) -> None:
        if self._bar:
            self._bar.console.print(without_controls(line), markup=False, highlight=False)
        else:
            self._output.note(line)

    def _restart(self) -> None:
        if self._bar:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task("", total=None)

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
