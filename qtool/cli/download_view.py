"""A download while it runs: bars on a terminal, a line every few seconds elsewhere."""

import shutil
import time
from types import TracebackType
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from qtool.download import (
    Asking,
    Checking,
    EndpointDropped,
    Event,
    FileFinished,
    FileStatus,
    Planned,
    Progress,
    Waiting,
)
from qtool.output import Output, without_controls
from qtool.units import format_duration, format_size

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

PLAIN_INTERVAL_S = 5.0
MAX_FILE_BARS = 4
MAX_FAILURES_SAID = 3
NARROW_COLUMNS = 60


class Watcher(Protocol):
    """Shows a download's events between ``with`` and its end."""

    def on_event(self, event: Event) -> None:
        """Show an event."""

    def __enter__(self) -> "Watcher":
        """Start."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End, whatever happened."""


def make_watcher(output: Output) -> Watcher:
    """Return bars where they can be drawn, else plain lines."""
    return BarWatcher(output) if output.is_animated else PlainWatcher(output)


class PlainWatcher:
    """A line at the start, every few seconds, and for each thing worth knowing."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._next_line_s = time.monotonic() + PLAIN_INTERVAL_S
        self._lines = EventLines()

    def __enter__(self) -> "PlainWatcher":
        """Do nothing."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Do nothing."""

    def on_event(self, event: Event) -> None:
        """Say what is worth a line."""
        match event:
            case Progress():
                self._say_progress(event)
            case Planned():
                for line in planned_lines(event):
                    self._output.note(line)
            case EndpointDropped():
                self._output.warn(dropped_line(event))
            case Waiting() | Checking() | FileFinished():
                if text := self._lines.of(event):
                    self._output.note(text)

    def _say_progress(self, progress: Progress) -> None:
        now = time.monotonic()
        if now < self._next_line_s:
            return
        self._next_line_s = now + PLAIN_INTERVAL_S
        self._output.note(progress_line(progress))


class BarWatcher:
    """A bar for the whole and one for each of the files under way.

    They are drawn from the first progress on: until then a passing line tells who is asked, and
    rich, which takes a while to load, is not needed where nothing is to be fetched.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self._is_narrow = shutil.get_terminal_size().columns < NARROW_COLUMNS
        self._bars: Bars | None = None
        self._total: TaskID | None = None
        self._files: dict[str, TaskID] = {}
        self._lines = EventLines()

    def __enter__(self) -> "BarWatcher":
        """Do nothing yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the bars, and what the terminal echoed of Ctrl+C with them."""
        if self._bars is not None:
            self._bars.stop()
        self._output.status()

    def on_event(self, event: Event) -> None:
        """Move the bars; print above them what is worth a line."""
        match event:
            case Asking():
                self._output.status(asking_line(event))
            case Progress():
                self._draw(event)
            case Planned():
                self._output.status()
                for line in planned_lines(event):
                    self._print(line)
            case EndpointDropped():
                self._print(f"warning: {dropped_line(event)}")
            case Waiting() | Checking() | FileFinished():
                if text := self._lines.of(event):
                    self._print(text)

    def _started(self) -> "Bars":
        """Return the bars, drawn from now on."""
        if self._bars is None:
            self._output.status()
            self._bars = make_bars(self._output, is_narrow=self._is_narrow)
            self._bars.start()
        return self._bars

    def _print(self, line: str) -> None:
        if self._bars is None:
            self._output.status()
            self._output.note(line)
        else:
            self._bars.console.print(without_controls(line), markup=False, highlight=False)

    def _draw(self, progress: Progress) -> None:
        if progress.bytes_done == progress.bytes_total and self._bars is None:
            return
        bars = self._started()
        if self._total is None:
            self._total = bars.add_task("all", total=progress.bytes_total or 1, note="")
        note = rate_note(progress, is_short=self._is_narrow)
        bars.update(self._total, completed=progress.bytes_done, note=note)
        shown = {file.path: file for file in progress.active[:MAX_FILE_BARS]}
        for path in [path for path in self._files if path not in shown]:
            bars.remove_task(self._files.pop(path))
        name_width = max(10, bars.console.width // (4 if self._is_narrow else 3))
        for path, file in shown.items():
            if path not in self._files:
                name = without_controls(shortened(path, name_width))
                self._files[path] = bars.add_task(name, total=file.bytes_total or 1, note="")
            size = f"of {format_size(file.bytes_total)}"
            bars.update(self._files[path], completed=file.bytes_done, note=size)


def make_bars(output: Output, *, is_narrow: bool) -> "Bars":
    """Return bars that vanish at the end; on a narrow terminal the numbers alone."""
    from rich.console import Console
    from rich.constrain import Constrain
    from rich.progress import BarColumn, ProgressColumn, TextColumn
    from rich.progress import Progress as Bars

    console = Console(file=output.stderr)

    class NarrowerBars(Bars):
        """Leaves room for the ^C that a terminal writes behind the last bar.

        In a full line it would open another one, and the bars be erased one line too low.
        """

        def get_renderable(self) -> Constrain:
            return Constrain(super().get_renderable(), max(1, console.width - len("^C^C")))

    columns: list[ProgressColumn | str] = [
        TextColumn("{task.description}", markup=False),
        *([] if is_narrow else [BarColumn(bar_width=None)]),
        TextColumn("{task.percentage:>3.0f} %", markup=False),
        TextColumn("{task.fields[note]}", markup=False),
    ]
    return NarrowerBars(*columns, console=console, expand=not is_narrow, transient=True)


def asking_line(event: Asking) -> str:
    """Return which hubs an answer is awaited from."""
    hosts = [urlsplit(url).netloc for url in event.urls]
    more = f" and {len(hosts) - 1} more" if len(hosts) > 1 else ""
    return f"asking {hosts[0]}{more} …" if hosts else "asking …"


def planned_lines(planned: Planned) -> list[str]:
    """Return what the user wants to know before it starts."""
    to_fetch = planned.bytes_total - planned.bytes_present
    if to_fetch == 0 and planned.n_files == planned.n_files_present:
        return list(planned.notes)
    line = f"{planned.repo_id}: {_files(planned.n_files)}, {format_size(planned.bytes_total)}"
    if planned.bytes_present:
        line += f", {format_size(planned.bytes_present)} there already"
    return [f"{line}, into {planned.path}", *planned.notes]


class EventLines:
    """Puts events into lines; of many failures the first few, as the end names them all."""

    def __init__(self) -> None:
        self._n_failures = 0

    def of(self, event: Waiting | Checking | FileFinished) -> str | None:
        """Return an event as a line, None when it is not worth one."""
        match event:
            case Waiting():
                return f"{event.path}: {event.reason}; again in {format_duration(event.wait_s)}"
            case Checking():
                return f"{event.path}: there already, checking {format_size(event.size_bytes)}"
            case FileFinished(result) if result.status is FileStatus.FAILED:
                self._n_failures += 1
                if self._n_failures <= MAX_FAILURES_SAID:
                    return f"{result.path}: failed"
        return None


def dropped_line(event: EndpointDropped) -> str:
    """Return which endpoint is left out, and why."""
    return f"{event.url} is not used any more: {event.reason}"


def progress_line(progress: Progress) -> str:
    """Return the whole download as one plain line."""
    done, total = format_size(progress.bytes_done), format_size(progress.bytes_total)
    share = 100 * progress.bytes_done // max(1, progress.bytes_total)
    files = f"{progress.n_files_done} of {_files(progress.n_files)}"
    return f"{share} %: {done} of {total}, {files}, {rate_note(progress)}"


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def rate_note(progress: Progress, *, is_short: bool = False) -> str:
    """Return speed and time left; in short without where the bytes come from."""
    rate = progress.rate_bytes_per_s
    if rate <= 0:
        return "waiting"
    left_s = (progress.bytes_total - progress.bytes_done) / rate
    if is_short:
        return f"{format_size(rate)}/s, {_clock(left_s)}"
    sources = f" from {progress.n_endpoints} endpoints" if progress.n_endpoints > 1 else ""
    return f"{format_size(rate)}/s{sources}, {format_duration(left_s)} left"


def _clock(duration_s: float) -> str:
    """Return a duration in few characters: ``0:05``, ``12:05``, ``1:02:03``."""
    minutes, seconds = divmod(round(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def shortened(path: str, width: int) -> str:
    """Return a path that fits into ``width`` columns, cut at the front, where it matters least."""
    return path if len(path) <= width else f"…{path[1 - width :]}"
