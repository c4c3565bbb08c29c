"""A running engine: started at once, ready later, dead with its parent."""

import contextlib
import io
import json
import os
import shlex
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from typing import IO, Any

from qtool.engines.base import CHAT_TEMPLATE, Endpoint, Launch, Progress
from qtool.engines.resident import estimate_progress
from qtool.errors import EnvironmentFault
from qtool.language.message import say

LOG_TAIL_BYTES = 4000

TRIES_TEMPLATE = "load_model: initializing, n_slots"
"""What llama.cpp's server logs once weights and context are there; then it tries the template."""


class EngineProcess:
    """One engine's process. The constructor returns as soon as the program is started.

    The process gets a session of its own, so that Ctrl+C in the terminal stops the reply and not
    the engine, and a pipe on stdin whose end kills it (see ``lifeline``).

    Raises:
        EnvironmentFault: the program cannot be started.
    """

    def __init__(self, launch: Launch, *, log: IO[bytes] | None = None) -> None:
        self.launch = launch
        self._log = log or tempfile.TemporaryFile(prefix="qtool-engine-")  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                launch.argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env={**os.environ, **launch.variables},
                start_new_session=True,
            )
        except OSError as exc:
            self._log.close()
            told = say(
                "cannot start the program {program}: {why}",
                program=launch.argv[0],
                why=exc.strerror,
            )
            raise EnvironmentFault(told) from exc
        self._url: str | None = None
        self._reason: str | None = None
        self._progress: Progress | None = None
        self._has_reported = threading.Event()
        self._send_settings()
        self._reader = threading.Thread(target=self._read_report, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process id of the engine."""
        return self._process.pid

    @property
    def is_ready(self) -> bool:
        """Tell whether the server listens, the model loaded."""
        return self._url is not None and self.is_alive

    @property
    def is_alive(self) -> bool:
        """Tell whether the process still runs."""
        return self._process.poll() is None

    @property
    def progress(self) -> Progress | None:
        """What it does while it starts: as it says itself, else as its log and memory show."""
        if self._url is None and TRIES_TEMPLATE in self.log_tail():
            return Progress(CHAT_TEMPLATE, 0.0)
        if self._progress is None and self.launch.weights_bytes:
            return estimate_progress(self.pid, self.launch.weights_bytes)
        return self._progress

    @property
    def has_crashed(self) -> bool:
        """Tell whether the engine was ready once and is gone now."""
        return self._url is not None and not self.is_alive

    def wait_until_ready(self, timeout_s: float | None = None) -> Endpoint | None:
        """Wait for the server to listen; ``None`` when ``timeout_s`` passes before that.

        Raises:
            EnvironmentFault: the engine ended instead; carries the last lines of its log.
        """
        if not self._has_reported.wait(timeout_s):
            return None
        if self._url is None:
            raise self._failure()
        settings, kind = self.launch.settings, self.launch.kind
        return Endpoint(self._url, settings["api_key"], settings["alias"], str(kind))

    def stop(self) -> None:
        """Kill the engine and wait for its end. May be called twice."""
        with contextlib.suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        self._reader.join(5)
        self._log.close()

    def find_loss(self, patience_s: float) -> EnvironmentFault | None:
        """Return how the engine ended in mid-reply; ``None`` if it runs after ``patience_s``."""
        try:
            code = self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            return None
        return EnvironmentFault(
            say(
                "the {engine} engine {ended} in mid-reply{details}",
                engine=self.launch.kind,
                ended=_describe_end(code),
                details=self._details(code),
            ),
            hint=_doctor(self.launch.settings),
        )

    def kill(self) -> None:
        """End it, as ``stop`` does."""
        self.stop()

    def detach(self) -> None:
        """Leave the process to itself. It is reaped if it ends while we live."""
        with contextlib.suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()
        self._log.close()

    def log_tail(self) -> str:
        """Return the last lines that the engine wrote to stderr."""
        if self._log.closed or not self._log.readable():
            return ""
        descriptor = self._log.fileno()
        start = max(0, os.fstat(descriptor).st_size - LOG_TAIL_BYTES)
        # The engine writes where the file's own position is: it must not be moved.
        return os.pread(descriptor, LOG_TAIL_BYTES, start).decode("utf-8", "replace").strip()

    def _send_settings(self) -> None:
        pipe = self._process.stdin
        if pipe is None:
            return
        with contextlib.suppress(BrokenPipeError):  # it died already; _read_report will say so
            pipe.write(json.dumps(dict(self.launch.settings)).encode() + b"\n")
            pipe.flush()

    def _read_report(self) -> None:
        """Wait for the line with the URL; read on to the end, or the engine would block."""
        with self._process.stdout or io.BytesIO() as reports:
            for line in reports:
                if self._url is None:
                    self._take_report(_parse_report(line))
        self._process.wait()
        self._has_reported.set()

    def _take_report(self, report: dict[str, Any]) -> None:
        match report:
            case {"url": str(url)}:
                self._url = url
                self._has_reported.set()
            case {"progress": {"stage": str(stage), "fraction": float() | int() as fraction}}:
                self._progress = Progress(stage, float(fraction))
            case {"error": {"message": str(message)}}:
                self._reason = message

    def _failure(self) -> EnvironmentFault:
        code, hint = self._process.wait(), _doctor(self.launch.settings)
        if self._reason is not None:
            told = say(
                "the {engine} engine cannot load the model: {why}",
                engine=self.launch.kind,
                why=self._reason,
            )
            return EnvironmentFault(told, hint=hint)
        return EnvironmentFault(
            say(
                "the {engine} engine {ended} before it was ready{details}",
                engine=self.launch.kind,
                ended=_describe_end(code),
                details=self._details(code),
            ),
            hint=hint,
        )

    def _details(self, code: int) -> str:
        """Return the end of the log; who is killed from outside could write nothing of it."""
        if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
            return ""
        return "".join(f"\n  {line}" for line in self.log_tail().splitlines()[-8:])


def _describe_end(code: int) -> str:
    """Say how a process ended; a shell, and the holder of a kept engine, add 128 to a signal."""
    number = -code if code < 0 else code - 128
    if number > 0:
        return say("was killed by signal {number}", number=number)
    return say("ended with code {code}", code=code)


def _doctor(settings: Mapping[str, Any]) -> str:
    return f"qtool doctor {shlex.quote(str(settings['model']))}"


def _parse_report(line: bytes) -> dict[str, Any]:
    """Return the object that an engine reports on stdout; of any other chatter, nothing."""
    try:
        report = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return report if isinstance(report, dict) else {}
