"""A child process that may crash, hang, shout or breed, and can do no harm by it.

It has a session of its own, no stdin, a time limit, and an empty folder to work in. What it has to
say goes into a file there, so that no noise on its outputs can be taken for it.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

MARK = "QTOOL_CONTAINED"
"""Environment variable by which the children of a contained child are found again."""
MAX_REPORT_BYTES = 1_000_000
TAIL_BYTES = 8192
KILL_WAIT_S = 2.0
MAX_HUNTS = 10
# What Windows answers instead of signals (NTSTATUS):
# https://learn.microsoft.com/openspecs/windows_protocols/ms-erref/596a1078-e883-4972-9bbc-49e60bebca55
_NT_CRASHES = {
    0xC0000005: "access violation",
    0xC000001D: "illegal instruction",
    0xC00000FD: "stack overflow",
    0xC0000135: "a DLL was not found",
    0xC0000374: "heap corruption",
    0xC0000409: "stack buffer overrun",
}


class Ending(StrEnum):
    """How a contained child came to its end."""

    EXITED = "exited"
    CRASHED = "crashed"
    HUNG = "hung"
    NOT_STARTED = "not started"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is left of a contained child.

    Attributes:
        how: The ending in words: ``SIGSEGV (Segmentation fault)``, ``ended with code 3``, …
        report: The JSON object it wrote last; empty if none.
        tail: The end of what it printed; ``n_output_bytes`` is how much that was in all.
    """

    ending: Ending
    how: str
    seconds: float
    report: Mapping[str, Any]
    tail: str = ""
    n_output_bytes: int = 0


class ContainedChild:
    """One program; the constructor starts it, ``poll`` looks after it, ``kill`` ends it.

    The program is told in its last argument where to write its report.
    """

    def __init__(
        self, arguments: Sequence[str], *, environ: Mapping[str, str], timeout_s: float
    ) -> None:
        """Start the program; one that cannot be started has ended already."""
        self._mark = secrets.token_hex(8)
        self._folder = Path(tempfile.mkdtemp(prefix="qtool-contained-"))
        self._report = self._folder / "report.json"
        self._timeout_s = timeout_s
        self._began = time.monotonic()
        self._output = _Output()
        self._failure: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._process = self._start([*arguments, str(self._report)], environ)
        except (OSError, ValueError) as exc:
            self._failure = f"{arguments[0]} cannot be started: {exc}"

    def _start(
        self, arguments: Sequence[str], environ: Mapping[str, str]
    ) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self._folder,
            env={**_from_elsewhere(environ), MARK: self._mark},
            start_new_session=True,
        )
        if process.stdout:
            self._output.read_from(process.stdout)
        return process

    def poll(self) -> Outcome | None:
        """Return the outcome, or ``None`` while the child runs and has time left."""
        if self._process is None:
            return self._end(Ending.NOT_STARTED, self._failure or "")
        if _has_ended(self._process):
            self._kill_all()
            return self._end(*_ending_of(self._process.returncode))
        if time.monotonic() - self._began > self._timeout_s:
            self._kill_all()
            return self._end(Ending.HUNG, f"no end within {self._timeout_s:g} s; killed")
        return None

    def kill(self) -> None:
        """End the child, with all that it has started, and forget it."""
        self._kill_all()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self, ending: Ending, how: str) -> Outcome:
        outcome = Outcome(
            ending=ending,
            how=how,
            seconds=time.monotonic() - self._began,
            report=_read_report(self._report),
            tail=self._output.tail(),
            n_output_bytes=self._output.n_bytes,
        )
        shutil.rmtree(self._folder, ignore_errors=True)
        return outcome

    def _kill_all(self) -> None:
        """Kill the child's process group before its number can be another's, then stragglers."""
        if self._process is None:
            return
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(KILL_WAIT_S)
        for _ in range(MAX_HUNTS):
            if not _kill_marked(self._mark):
                break


class _Output:
    """Counts what a child prints and keeps the end of it."""

    def __init__(self) -> None:
        self.n_bytes = 0
        self._kept = b""
        self._reader: threading.Thread | None = None

    def read_from(self, stream: IO[bytes]) -> None:
        self._reader = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._reader.start()

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            while block := stream.read1(65536):  # type: ignore[attr-defined]
                self.n_bytes += len(block)
                self._kept = (self._kept + block)[-TAIL_BYTES:]

    def tail(self) -> str:
        """Return the end of it, once everything that held the pipe is gone."""
        if self._reader:
            self._reader.join(KILL_WAIT_S)
        return self._kept.decode("utf-8", "replace")


def _from_elsewhere(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for a child in another folder: relative paths become absolute."""
    folders = [part for part in environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    if not folders:
        return dict(environ)
    return {**environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, folders))}


def _has_ended(process: "subprocess.Popen[bytes]") -> bool:
    """Tell whether the child has ended, and leave its number taken where the system can."""
    if not hasattr(os, "waitid"):
        return process.poll() is not None
    try:
        found = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return found is not None


def _ending_of(code: int | None) -> tuple[Ending, str]:
    if code is None:
        return Ending.HUNG, "it could not be ended"
    if code < 0:
        return Ending.CRASHED, signal_words(-code)
    if code & 0xFFFFFFFF in _NT_CRASHES:
        return Ending.CRASHED, _NT_CRASHES[code & 0xFFFFFFFF]
    return Ending.EXITED, f"ended with code {code}"


def signal_words(number: int) -> str:
    """Return a signal's name and what the system calls it."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    words = (signal.strsignal(number) or "").lower()
    if name == "SIGKILL":
        words += "; if nobody did, memory ran out"
    return f"{name} ({words})" if words else name


def _kill_marked(mark: str) -> int:
    """Kill processes that carry the mark in their environment: those that left the group.

    Returns how many there were: what one has started meanwhile is found the next time.
    """
    wanted, n_killed = f"{MARK}={mark}".encode(), 0
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)
                n_killed += 1
    return n_killed


def _read_report(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            value = json.loads(file.read(MAX_REPORT_BYTES).decode("utf-8", "replace"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
