"""Child processes that report a line or two: started early, collected late, never trusted."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MAX_OUTPUT_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class ChildResult:
    """What a child printed; ``failure`` says why there is nothing to rely on."""

    output: str = ""
    failure: str | None = None


class Child:
    """A child process in a session of its own, without stdin, with a time limit.

    Several run side by side: the constructor starts it, ``result`` waits for it.
    """

    def __init__(
        self, arguments: Sequence[str], *, environ: Mapping[str, str] | None = None
    ) -> None:
        """Start the program; one that cannot be started is a failure in ``result``."""
        self._failure: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environ,
                start_new_session=True,
            )
        except (OSError, ValueError) as exc:
            self._failure = f"{arguments[0]} cannot be started: {exc}"
        self._output = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def result(self, timeout_s: float) -> ChildResult:
        """Wait for the child, kill it and its children when time is up."""
        process = self._process
        if process is None:
            return ChildResult(failure=self._failure)
        until = time.monotonic() + timeout_s
        self._reader.join(timeout_s)
        if self._reader.is_alive() or not self._has_ended(until - time.monotonic()):
            self._kill()
            is_too_much = len(self._output) > MAX_OUTPUT_BYTES
            return ChildResult(
                failure="it says too much" if is_too_much else f"no answer within {timeout_s:g} s"
            )
        text = self._output.decode("utf-8", "replace")
        if process.returncode != 0:
            return ChildResult(text, failure=f"ended with code {process.returncode}")
        return ChildResult(text)

    def _read(self) -> None:
        """Take what the child prints, and no more than is of use."""
        if self._process and self._process.stdout:
            with self._process.stdout as stdout:
                self._output = stdout.read(MAX_OUTPUT_BYTES + 1)

    def _has_ended(self, timeout_s: float) -> bool:
        """Wait for the end of a child that has closed its output, or was left talking."""
        if self._process is None or len(self._output) > MAX_OUTPUT_BYTES:
            return False
        try:
            self._process.wait(max(timeout_s, 0.1))
        except subprocess.TimeoutExpired:
            return False
        return True

    def _kill(self) -> None:
        if self._process is None:
            return
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1)
