"""The threads of a download: connections, the hasher, and the keeper of the journals."""

import contextlib
import threading
from collections.abc import Callable, Sequence

from qtool.download.finish import FrontHasher
from qtool.download.job import Job
from qtool.download.sinks import PartialFile
from qtool.download.transfer import Worker, Workshop
from qtool.errors import QtoolError
from qtool.hub.connection import ConnectionPool

CHECKPOINT_S = 1.0
TICK_S = 0.1
JOIN_S = 0.5


class Crew:
    """Runs all threads until every job has its outcome."""

    def __init__(
        self, shop: Workshop, pool: ConnectionPool, n_connections: int, n_for_small: int
    ) -> None:
        self._shop = shop
        self._jobs: Sequence[Job] = list(shop.jobs.values())
        self._pool = pool
        self._crash: BaseException | None = None
        hasher = FrontHasher(self._jobs, shop.finisher, shop.stop)
        bodies = [Worker(shop, index).run for index in range(n_connections)]
        bodies += [
            Worker(shop, n_connections + index, is_for_small=True).run
            for index in range(n_for_small)
        ]
        bodies += [hasher.run, self._keep_journals]
        self._threads = [self._thread(body) for body in bodies]

    def run(self, on_tick: Callable[[], None], wake: threading.Event) -> None:
        """Work; ``on_tick`` is called on this thread, often, and when ``wake`` is set.

        Whatever ends it, the journals know all bytes that were written and no thread goes on.
        """
        for thread in self._threads:
            thread.start()
        try:
            while any(job.outcome is None for job in self._jobs) and self._crash is None:
                wake.wait(TICK_S)
                wake.clear()
                on_tick()
        finally:
            self._stop()
        if self._crash is not None:
            raise self._crash

    def _stop(self) -> None:
        self._shop.stop.set()
        if any(job.outcome is None for job in self._jobs):
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

    def _thread(self, body: Callable[[], None]) -> threading.Thread:
        def guarded() -> None:
            try:
                body()
            except BaseException as exc:  # noqa: BLE001 - a thread's end; raised again in run()
                self._crash = exc

        return threading.Thread(target=guarded, daemon=True)
