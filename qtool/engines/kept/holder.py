"""The program that keeps an engine: ``python -P -m qtool.engines.kept.holder``.

On stdin it gets one line of JSON: the engine's ``argv``, ``variables``, ``kind`` and ``settings``,
the ``keep_alive_s``, the ``folder`` of the records, the ``model`` and the ``fingerprint``. On
stdout it passes on what the engine reports, so that whoever started it sees an engine like any
other. Unlike one, it does not die with its parent, but when nobody has used the engine for
``keep_alive_s``; and the engine, whose stdin it holds, dies with it. Until there is a record by
which others find the engine it does end with its parent, whose end is that of stdin.
"""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from qtool.engines.kept.lease import Lease
from qtool.engines.kept.process_mark import mark_process
from qtool.engines.kept.record import Record, RecordFolder

POLL_S = 0.2


class Holder:
    """Owns one engine."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._order = order
        self._folder = RecordFolder(Path(order["folder"]))
        self._lease = Lease(self._folder.file_of(order["model"], ".lease"))
        self._record: Record | None = None
        self._engine = subprocess.Popen(
            order["argv"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **order["variables"]},
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._pass_reports_on, daemon=True)

    def run(self) -> int:
        """Hold the engine until it ends, or nobody needs it any more; return an exit code."""
        assert self._engine.stdin is not None  # noqa: S101 - it is a pipe, see above
        with suppress(BrokenPipeError):
            self._engine.stdin.write(json.dumps(self._order["settings"]).encode() + b"\n")
            self._engine.stdin.flush()
        self._reader.start()
        try:
            return self._watch(time.monotonic)
        finally:
            self._end()

    def _watch(self, clock: Callable[[], float]) -> int:
        used_at = clock()
        while True:
            try:
                code = self._engine.wait(POLL_S)
            except subprocess.TimeoutExpired:
                if self._record is None and _is_starter_gone():
                    return 0
                if not self._lease.is_free():
                    used_at = clock()
                elif clock() - used_at > self._keep_alive_s():
                    return 0
            else:
                self._reader.join(1)  # what it said last
                return code if code >= 0 else 128 - code

    def _keep_alive_s(self) -> float:
        """Return how long to stay; a later conversation may have asked for more or less."""
        record = self._folder.find(self._order["model"])
        is_own = record is not None and record.pid == os.getpid()
        return float(record.keep_alive_s if record and is_own else self._order["keep_alive_s"])

    def _pass_reports_on(self) -> None:
        for line in self._engine.stdout or ():
            report = self._with_keeping(line)
            with suppress(OSError):  # nobody listens any more
                os.write(1, report)

    def _with_keeping(self, line: bytes) -> bytes:
        """Keep the engine if ``line`` tells its URL; return the line, and why that failed."""
        try:
            report = json.loads(line)
            self._keep_record(report["url"])
        except (ValueError, TypeError, KeyError):
            return line
        except OSError as exc:
            return json.dumps({**report, "not_kept": exc.strerror or str(exc)}).encode() + b"\n"
        return line

    def _keep_record(self, url: str) -> None:
        """Write down where the engine listens, before its starter knows."""
        order = self._order
        record = Record(
            pid=os.getpid(),
            mark=mark_process(os.getpid()) or "",
            engine_pid=self._engine.pid,
            url=url,
            api_key=order["settings"]["api_key"],
            alias=order["settings"]["alias"],
            kind=order["kind"],
            model=order["model"],
            fingerprint=order["fingerprint"],
            keep_alive_s=order["keep_alive_s"],
            began_at=time.time(),
        )
        self._folder.write(record)
        self._record = record

    def _end(self) -> None:
        self._engine.kill()
        self._engine.wait()
        if self._record is not None:
            self._folder.remove(self._record)


def _is_starter_gone() -> bool:
    """Tell whether stdin has ended: after the order nothing comes but its end."""
    return bool(select.select([0], [], [], 0)[0])


def main() -> None:
    """Read the order and hold the engine. SIGTERM ends both in order."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    order = json.loads(sys.stdin.buffer.readline())
    os.chdir("/")  # keep nobody from unmounting where the conversation was
    sys.exit(Holder(order).run())


if __name__ == "__main__":
    main()
