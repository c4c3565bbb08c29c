"""The missing files of a target, large ones by another program, the others by qtool itself.

Small files are not worth a process, and what needs the user's token stays with qtool.
"""

import queue
import threading
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

from qtool.download.backends.bringer import Bringer, Shift
from qtool.download.backends.child import Stopped
from qtool.download.backends.gauge import Gauge
from qtool.download.backends.staging import Staging
from qtool.download.disk import check_space
from qtool.download.events import (
    DownloadResult,
    Event,
    FileFinished,
    FileResult,
    FileStatus,
    OnEvent,
    Planned,
    Waiting,
)
from qtool.download.fetch import Fetch
from qtool.download.partials import PARTIAL_FOLDER, identity_of, is_small
from qtool.download.request import DownloadRequest
from qtool.download.sinks import PartialFile
from qtool.download.target import Target
from qtool.errors import QtoolError
from qtool.hub.choice import Choice
from qtool.hub.connection import AbortedError, ConnectionPool
from qtool.hub.repo import RemoteFile

DEFAULT_CONNECTIONS = 16
# While one file is verified the next one is fetched.
DEFAULT_FILES = 2
TICK_S = 0.1


class ProgramFetch:
    """One run over the missing files of a target; the counterpart of ``Fetch``."""

    def __init__(
        self,
        request: DownloadRequest,
        choice: Choice,
        target: Target,
        pool: ConnectionPool,
    ) -> None:
        self._request = request
        self._choice = choice
        self._target = target
        self._layout = target.layout
        self._pool = pool
        self._url = choice.client.endpoint.url
        self._native = Fetch(request, choice, target, pool)
        self._staging = Staging(target.layout.state_dir, choice.listing, request.backend)
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._received = 0

    @property
    def bytes_by_endpoint(self) -> dict[str, int]:
        """Return how many bytes came from each endpoint."""
        received = dict(self._native.bytes_by_endpoint)
        if self._received:
            received[self._url] = received.get(self._url, 0) + self._received
        return received

    @property
    def dropped(self) -> dict[str, str]:
        """Return why an endpoint was asked no more."""
        return self._native.dropped

    def run(
        self,
        files: Sequence[RemoteFile],
        known: DownloadResult,
        on_event: OnEvent,
        stop: threading.Event,
    ) -> tuple[FileResult, ...]:
        """Fetch ``files``; ``known`` holds the results of those in place already.

        Raises as ``Fetch.run`` does.
        """
        large = [file for file in files if not is_small(file)]
        by_content = self._target.by_content(large)
        sizes = {file: self._staging.bytes_left(file) for file in by_content.values()}
        others = [file for file in files if file not in sizes]
        gauge = Gauge(sizes, others, known)
        n_files = len(known.files) + len(files)
        on_event(
            Planned.of(
                known,
                n_files=n_files,
                bytes_total=gauge.bytes_total,
                bytes_present=gauge.bytes_done,
            )
        )
        check_space(self._layout.root, gauge.bytes_total - gauge.bytes_done)
        outcomes = self._bring_all(list(sizes), gauge, on_event, stop) if sizes else {}
        results = [r for f in large if (r := self._result(f, by_content, outcomes)) is not None]
        done = {result.path for result in results}
        left = [file for file in files if file.path not in done]
        known = replace(known, files=(*known.files, *results))
        return (*results, *self._native.run(left, known, _without_plan(on_event), stop))

    def _result(
        self,
        file: RemoteFile,
        by_content: Mapping[Path, RemoteFile],
        outcomes: Mapping[str, FileResult],
    ) -> FileResult | None:
        """Return a file's result, None for one left to qtool itself."""
        outcome = outcomes.get(by_content[self._layout.content_path(file)].path)
        if outcome is None or outcome.path == file.path:
            return outcome
        if outcome.error is None:
            self._target.adopt(file)
        return replace(outcome, path=file.path)

    def _bring_all(
        self,
        files: Sequence[RemoteFile],
        gauge: Gauge,
        on_event: OnEvent,
        stop: threading.Event,
    ) -> dict[str, FileResult]:
        """Bring the files, several at a time; return the outcomes of those that were not left."""
        request = self._request
        n_files, connections = _shares(request, len(files))
        with self._staging.claimed(stop) as claim_fd, ThreadPoolExecutor(n_files) as hands:
            shift = Shift(connections, claim_fd, self._stop, self._report_wait)
            bringer = Bringer(request, self._choice, self._target, self._staging, shift)
            work = {file.path: hands.submit(self._bring, bringer, file, gauge) for file in files}
            try:
                is_done = False
                while not is_done:
                    is_done = not wait(work.values(), TICK_S).not_done
                    if stop.is_set():
                        raise KeyboardInterrupt
                    self._tell(gauge, on_event)
            finally:
                self._end(work.values())
                self._received = gauge.received
        self._staging.remove_if_empty()
        outcomes = {path: future.result() for path, future in work.items()}
        return {path: result for path, result in outcomes.items() if result is not None}

    def _bring(self, bringer: Bringer, file: RemoteFile, gauge: Gauge) -> FileResult | None:
        """Bring one file, on a thread of its own; None when it is left to qtool itself."""
        try:
            result = bringer.bring(file, lambda size: gauge.note(file, size))
        except (Stopped, AbortedError):
            return None
        except QtoolError as exc:
            result = FileResult.of(file, FileStatus.FAILED, exc)
        if result is not None:
            if result.error is None:
                self._discard_partial(file)
            gauge.settle(file)
            self._events.put(FileFinished(result))
        return result

    def _discard_partial(self, file: RemoteFile) -> None:
        """Remove what qtool itself had fetched of a file before it was asked for a backend."""
        folder = self._layout.state_dir / PARTIAL_FOLDER
        PartialFile(folder, file, identity_of(self._choice.listing, file)).discard()

    def _end(self, work: Collection["Future[FileResult | None]"]) -> None:
        """End what is still at work: children, waits, questions to the hub."""
        if all(future.done() for future in work):
            return
        self._stop.set()
        self._pool.abort()
        for future in work:
            future.cancel()

    def _report_wait(self, path: str, reason: str, wait_s: float) -> None:
        self._events.put(Waiting(path, reason, wait_s))

    def _tell(self, gauge: Gauge, on_event: OnEvent) -> None:
        while not self._events.empty():
            on_event(self._events.get())
        on_event(gauge.read())


def _shares(request: DownloadRequest, n_files: int) -> tuple[int, int]:
    """Return how many files to fetch at a time, and the connections of each."""
    # Programs that run side by side know nothing of each other's rate.
    is_limited = request.rate_limit_bytes_per_s is not None
    at_a_time = min(n_files, 1 if is_limited else request.max_files or DEFAULT_FILES)
    return at_a_time, max(1, (request.connections or DEFAULT_CONNECTIONS) // at_a_time)


def _without_plan(on_event: OnEvent) -> OnEvent:
    """Return the same, but for the plan of the files that are left, which is told already."""

    def pass_on(event: Event) -> None:
        if not isinstance(event, Planned):
            on_event(event)

    return pass_on
