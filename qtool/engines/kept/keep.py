"""Finding the engine that is kept for a model, and keeping one."""

import contextlib
import http.client
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from qtool.engines.base import Endpoint, EngineOptions, Launch, Progress, RunningEngine
from qtool.engines.kept.fingerprint import fingerprint
from qtool.engines.kept.lease import Lease
from qtool.engines.kept.process_mark import end_process
from qtool.engines.kept.record import Record, RecordFolder
from qtool.engines.process import EngineProcess
from qtool.engines.resident import resident_bytes

HOLDER = (sys.executable, "-P", "-m", "qtool.engines.kept.holder")
ANSWER_TIMEOUT_S = 2
NOT_KEPT = "the engine does not stay after this conversation: {}"


class EngineStore:
    """The engines that stay after their conversation; ``keep_alive_s`` is for how long.

    ``None`` keeps none, but uses those that were kept and leaves them as long as was asked then.
    Zero ends one after this conversation. ``warn`` is told where one cannot be kept.
    """

    def __init__(
        self,
        folder: Path,
        keep_alive_s: float | None,
        warn: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._records = RecordFolder(folder)
        self._warn = warn
        self._keep_alive_s = keep_alive_s

    def reclaimable_bytes(self, files: Sequence[Path]) -> int:
        """Return the memory of the engine that is kept for the model in ``files`` and not in use:
        it will be used, or ended."""
        places = [files[0], files[0].parent] if files else []  # engines are given one of them
        for place in places:
            record = self._find(str(place.absolute()))
            if record is not None and self._lease(record.model).is_free():
                return resident_bytes(record.engine_pid) or 0
        return 0

    def start(self, launch: Launch, options: EngineOptions, files: Sequence[Path]) -> RunningEngine:
        """Return the kept engine if it is what ``launch`` would start; else start that.

        One kept for the same model that is anything else is ended first.

        Raises:
            EnvironmentFault: the engine's program cannot be started.
        """
        model, made_of = str(launch.settings["model"]), fingerprint(launch, options, files)
        record = self._find(model)
        if record is None and not self._keep_alive_s:
            return EngineProcess(launch)
        lease = self._lease(model)
        try:
            self._records.create()
            is_taken = lease.take()
        except OSError as exc:
            self._warn(NOT_KEPT.format(exc.strerror or exc))
            return EngineProcess(launch)
        if not is_taken:
            return EngineProcess(launch)  # another conversation has the one that is kept
        if record is not None and record.fingerprint == made_of and _answers(record):
            return KeptEngine(self._prolong(record), lease)
        if record is not None:
            self._records.stop(record)
        if not self._keep_alive_s:
            lease.release()
            return EngineProcess(launch)
        return HeldEngine(self._order(launch, model, made_of), lease, self._warn)

    def all(self) -> list[tuple[Record, bool]]:
        """Return the engines that are kept, and whether a conversation uses each."""
        found = [] if sys.platform == "win32" else self._records.all()
        return [(one, not self._lease(one.model).is_free()) for one in found]

    def stop(self, record: Record) -> None:
        """End a kept engine, in use or not."""
        self._records.stop(record)

    def _prolong(self, record: Record) -> Record:
        """Let it stay as long as is asked now, if anything is."""
        if self._keep_alive_s is None or self._keep_alive_s == record.keep_alive_s:
            return record
        wanted = replace(record, keep_alive_s=self._keep_alive_s)
        try:
            self._records.write(wanted)
        except OSError as exc:
            self._warn(f"the engine stays as long as was asked before: {exc.strerror or exc}")
            return record
        return wanted

    def _lease(self, model: str) -> Lease:
        return Lease(self._records.file_of(model, ".lease"))

    def _find(self, model: str) -> Record | None:
        return None if sys.platform == "win32" else self._records.find(model)

    def _order(self, launch: Launch, model: str, made_of: str) -> Launch:
        order = {
            "argv": launch.argv,
            "variables": dict(launch.variables),
            "kind": str(launch.kind),
            "settings": dict(launch.settings),
            "keep_alive_s": self._keep_alive_s,
            "folder": str(self._records.path.absolute()),
            "fingerprint": made_of,
            **{name: launch.settings[name] for name in ("api_key", "alias")},
            "model": model,
        }
        return replace(launch, argv=HOLDER, settings=order, variables={})


class KeptEngine:
    """An engine that an earlier conversation left; looks like an ``EngineProcess``."""

    progress: Progress | None = None

    def __init__(self, record: Record, lease: Lease) -> None:
        self._record = record
        self._lease = lease

    @property
    def pid(self) -> int:
        """The process id of the engine."""
        return self._record.engine_pid

    @property
    def is_ready(self) -> bool:
        """Tell whether it still runs."""
        return self._record.is_alive

    @property
    def has_crashed(self) -> bool:
        """Tell whether it does not run any more."""
        return not self.is_ready

    def wait_until_ready(self, timeout_s: float | None = None) -> Endpoint:
        """Return where it listens: it has been ready for long."""
        record = self._record
        return Endpoint(record.url, record.api_key, record.alias, record.kind)

    def find_loss(self, patience_s: float) -> None:
        """Return nothing: it is another process's child."""

    def stop(self) -> None:
        """Leave it to the next conversation."""
        self._lease.release()

    def kill(self) -> None:
        """End it with its holder."""
        end_process(self._record.pid, self._record.mark)
        self._lease.release()


class HeldEngine(EngineProcess):
    """An engine with a holder between it and us, which keeps it when we go."""

    def __init__(self, launch: Launch, lease: Lease, warn: Callable[[str], None]) -> None:
        self._lease = lease
        self._warn = warn
        self._not_kept: str | None = None
        try:
            super().__init__(launch)
        except BaseException:
            lease.release()
            raise

    def stop(self) -> None:
        """Leave it to the next conversation; end one that is not ready yet."""
        if self.is_ready:
            if self._not_kept is not None:
                self._warn(NOT_KEPT.format(self._not_kept))
            self.detach()
        else:
            super().stop()
        self._lease.release()

    def kill(self) -> None:
        """End it with its holder, on whose life its own hangs."""
        super().stop()
        self._lease.release()

    def _take_report(self, report: dict[str, Any]) -> None:
        match report:
            case {"not_kept": str(reason)}:
                self._not_kept = reason
        super()._take_report(report)


def _answers(record: Record) -> bool:
    """Tell whether the server takes the key and serves the model."""
    url = urlsplit(record.url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=ANSWER_TIMEOUT_S)
    with contextlib.closing(connection):
        try:
            headers = {"Authorization": f"Bearer {record.api_key}"}
            connection.request("GET", "/v1/models", headers=headers)
            response = connection.getresponse()
            return response.status == http.client.OK and record.alias.encode() in response.read()
        except (OSError, http.client.HTTPException):
            return False
