"""The threads of a download: connections, the hasher, and the keeper of the journals."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence

from qtool.download.front import FrontHasher
from qtool.download.growth import Growth
from qtool.download.job import Job
from qtool.download.request import DEFAULT_CONNECTIONS
from qtool.download.sinks import PartialFile
from qtool.download.transfer import Worker, Workshop
from qtool.errors import QtoolError, ResourceError
from qtool.hub.connection import ConnectionPool

log = logging.getLogger(__name__)

CHECKPOINT_S = 1.0
TICK_S = 0.1
JOIN_S = 0.5
FEWER_HINT = "fewer connections need less: -x 4; the limits of this shell: ulimit -u; ulimit -v"


class Crew:
    """Runs all threads until every job has its outcome."""

    def __init__(
        self,
        shop: Workshop,
        pool: ConnectionPool,
        growth: Growth | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shop = shop
        self._jobs: Sequence[Job] = list(shop.jobs.values())
        self._pool = pool
        self._growth = growth
        self._clock = clock
        self._crash: BaseException | None = None
        self._hasher = FrontHasher(self._jobs, shop.finisher, shop.stop)
        self._threads: list[threading.Thread] = []
        self._workers: dict[int, threading.Thread] = {}

    def run(self, on_tick: Callable[[], None], wake: threading.Event) -> None:
        """Work; ``on_tick`` is called on this thread, often, and when ``wake`` is set.

        Whatever ends it, the journals know all bytes that were written and no thread goes on.
        Raises ResourceError when the system grants too few threads, or memory runs short.
        """
        try:
            self._work(on_tick, wake)
        except MemoryError as exc:
            raise ResourceError("memory ran short", hint=FEWER_HINT) from exc

    def _work(self, on_tick: Callable[[], None], wake: threading.Event) -> None:
        try:
            self._threads += [self._started(self._hasher.run), self._started(self._keep_journals)]
            self._steer()
            self._employ_for_small()
            while self._shop.tally.n_open and self._crash is None:
                wake.wait(TICK_S)
                wake.clear()
                self._steer()
                on_tick()
        finally:
            self._stop()
        if self._crash is not None:
            raise self._crash

    def _steer(self) -> None:
        """Add connections or withdraw some, by what they bring."""
        fleet, now = self._shop.fleet, self._clock()
        fleet.sample()
        if fleet.extra and not self._shop.schedule.has_small:
            fleet.extra = 0
        if self._growth is not None and not fleet.extra:
            self._growth.require(DEFAULT_CONNECTIONS * len(fleet.live))
            if fleet.allowed() < fleet.wanted:
                self._growth.hold(now)
            left_bytes = self._shop.tally.bytes_left
            received, n_served = fleet.bytes_received(), fleet.n_served()
            fleet.wanted = self._growth.observe(now, received, left_bytes, n_served)
        self._employ()

    def _employ(self) -> None:
        """Start the connections that are missing, also those that had run out of work.

        Where the system refuses one, the number stays below it.
        """
        if self._shop.schedule.is_finished:
            return
        fleet = self._shop.fleet
        for index in range(min(fleet.wanted, fleet.most)):
            worker = self._workers.get(index)
            if worker is not None and worker.is_alive():
                continue
            try:
                self._workers[index] = self._started(Worker(self._shop, index).run)
            except ResourceError as exc:
                if index == 0:
                    raise
                log.debug("no more than %d connections: %s", index, exc.__cause__)
                fleet.most = index
                return

    def _employ_for_small(self) -> None:
        """Start the connections for small files, as many of them as the system grants."""
        fleet = self._shop.fleet
        with contextlib.suppress(ResourceError):
            for index in range(fleet.wanted, fleet.wanted + fleet.extra):
                worker = Worker(self._shop, index, is_for_small=True)
                self._threads.append(self._started(worker.run))

    def _stop(self) -> None:
        self._shop.stop.set()
        self._threads += self._workers.values()
        if self._shop.tally.n_open:
            self._pool.abort()
        for thread in self._threads:
            thread.join(JOIN_S)
        for job in self._jobs:
            if isinstance(job.sink, PartialFile):
                # A full disk has been reported already; what is there stays valid.
                with contextlib.suppress(QtoolError):
                    job.sink.checkpoint()
                if all(not thread.is_alive() for thread in self._threads):
                    job.sink.close()

    def _keep_journals(self) -> None:
        sinks = [job.sink for job in self._jobs if isinstance(job.sink, PartialFile)]
        while not self._shop.stop.wait(CHECKPOINT_S):
            for sink in sinks:
                with contextlib.suppress(QtoolError):
                    sink.checkpoint()

    def _started(self, body: Callable[[], None]) -> threading.Thread:
        """Return a running thread. Raises ResourceError when the system grants none."""

        def guarded() -> None:
            try:
                body()
            except BaseException as exc:  # noqa: BLE001 - a thread's end; raised again in run()
                self._crash = exc

        thread = threading.Thread(target=guarded, daemon=True)
        try:
            thread.start()
        except RuntimeError as exc:
            raise ResourceError("the system grants no more threads", hint=FEWER_HINT) from exc
        return thread
