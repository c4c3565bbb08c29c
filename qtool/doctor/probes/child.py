"""Child processes that report a line or two: started early, collected late, never trusted."""

import contextlib
import os
import signal
import subprocess
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

    def result(self, timeout_s: float) -> ChildResult:
        """Wait for the child, kill it and its children when time is up."""
        process = self._process
        if process is None:
            return ChildResult(failure=self._failure)
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self._kill()
            return ChildResult(failure=f"no answer within {timeout_s:g} s")
        text = output[:MAX_OUTPUT_BYTES].decode("utf-8", "replace")
        if process.returncode != 0:
            return ChildResult(text, failure=f"ended with code {process.returncode}")
        return ChildResult(text)

    def _kill(self) -> None:
        if self._process is None:
            return
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.communicate(timeout=1)
