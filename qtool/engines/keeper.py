"""Keeps one engine for a conversation: started at once, started again after a crash."""

import time
from collections.abc import Callable

from qtool.engines.base import CHAT_TEMPLATE, Endpoint, Launch, OnWait, Progress, RunningEngine
from qtool.engines.process import EngineProcess
from qtool.errors import EnvironmentFault, QtoolError
from qtool.language.message import say

POLL_S = 0.2

LOSS_PATIENCE_S = 0.5
"""How long a process may take to be dead, after its connections are."""

TEMPLATE_S = 20
"""What an engine may take to try a chat template out, which costs milliseconds."""

HINT = say("{chat} --template FILE gives the model another one", chat="qtool chat …")


class EngineKeeper:
    """Owns the engine's process. As a context manager it leaves none behind."""

    def __init__(
        self,
        launch: Launch,
        start: Callable[[Launch], RunningEngine] = EngineProcess,
        *,
        limit_s: float | None = None,
        explain: Callable[[EnvironmentFault], QtoolError] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.launch = launch
        self._limit_s = limit_s
        self._explain = explain
        self._clock = clock
        self._started_at = 0.0
        self._template_since = 0.0
        self._start = start
        self._process: RunningEngine | None = None
        self._has_told_failure = False

    def start(self) -> None:
        """Start the engine; return without waiting for it."""
        if self._process is None:
            self._started_at = self._template_since = self._clock()
            self._process = self._start(self.launch)

    @property
    def is_ready(self) -> bool:
        """Tell whether a request would be answered at once."""
        return self._process is not None and self._process.is_ready

    @property
    def progress(self) -> Progress | None:
        """What the engine does while it starts, if it says so."""
        return self._process.progress if self._process else None

    @property
    def pid(self) -> int | None:
        """The engine's process id, if it was started."""
        return self._process.pid if self._process else None

    def endpoint(self, on_wait: OnWait | None = None) -> Endpoint:
        """Wait for the engine, after a crash or a failed start for a new one; say where it listens.

        ``on_wait`` is told several times a second what the engine does meanwhile.

        Raises:
            EnvironmentFault: the engine does not start. The next call tries again.
            QtoolError: that, as it is explained.
        """
        if self._has_told_failure or (self._process is not None and self._process.has_crashed):
            self.stop()
        self.start()
        while True:
            try:
                if endpoint := self._look():
                    return endpoint
                if on_wait is not None:
                    on_wait(self.progress)
                self._check_patience()
            except QtoolError:
                self._has_told_failure = True
                raise

    def _look(self) -> Endpoint | None:
        """Return where the engine listens, ``None`` while it starts; explain why it does not."""
        try:
            return self._process.wait_until_ready(POLL_S) if self._process else None
        except EnvironmentFault as fault:
            if self._explain is None:
                raise
            raise self._explain(fault) from fault

    def _check_patience(self) -> None:
        """Give an engine up that starts for longer than ``limit_s``, or tries its template on."""
        now = self._clock()
        progress = self.progress
        if progress is None or progress.stage != CHAT_TEMPLATE:
            self._template_since = now
        elif now - self._template_since > TEMPLATE_S:
            raise EnvironmentFault(
                say("the model's chat template never ends: given up after {n} s", n=TEMPLATE_S),
                hint=HINT,
            )
        if self._limit_s is not None and now - self._started_at > self._limit_s:
            raise EnvironmentFault(
                say(
                    "the {engine} engine was not ready after {limit_s:.0f} s; a chat template that"
                    " never ends may be the cause",
                    engine=self.launch.kind,
                    limit_s=self._limit_s,
                ),
                hint=HINT,
            )

    def explain_loss(self, loss: QtoolError) -> QtoolError:
        """Return why a reply broke off with ``loss``: how the engine ended, if it did."""
        fault = self._process.find_loss(LOSS_PATIENCE_S) if self._process else None
        if fault is None:
            return loss
        return self._explain(fault) if self._explain else fault

    def stop(self) -> None:
        """End the engine, if there is one and it is not to stay."""
        if self._process is not None:
            self._process.stop()
            self._process = None
        self._has_told_failure = False

    def kill(self) -> None:
        """End the engine, also where it was to stay; the next ``endpoint`` starts another one."""
        if self._process is not None:
            self._process.kill()
            self._process = None
        self._has_told_failure = False

    def __enter__(self) -> "EngineKeeper":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
