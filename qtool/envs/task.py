"""Running installers and probes: watched line by line, logged, dead with their parent."""

import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from qtool.envs.failure import without_credentials
from qtool.errors import EnvironmentFault
from qtool.language.message import say

SUPERVISOR = Path(__file__).with_name("supervisor.py")
N_LAST_LINES = 12
KILL_TIMEOUT_S = 10.0
PATIENCE_S = 3.0
"""How long an installer may take to die after the qtool that ran it."""


def run(
    argv: Sequence[str],
    *,
    log: IO[bytes],
    on_line: Callable[[str], None],
    environ: Mapping[str, str] | None = None,
    held: Sequence[int] = (),
    timeout_s: float | None = None,
) -> tuple[int, list[str]]:
    """Run ``argv`` to its end; return its exit code and the last lines of what it said.

    Both of its streams go to ``log`` and line by line to ``on_line``. When this is interrupted,
    also by ``kill -9``, the program and its children are killed, and when ``timeout_s`` is over.
    ``held`` are descriptors (a lock's) that stay open until then.

    Raises:
        EnvironmentFault: not even the supervisor can be started.
    """
    log.write(without_credentials(f"$ {' '.join(argv)}\n").encode())
    log.flush()
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", str(SUPERVISOR), *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environ,
            start_new_session=True,
            pass_fds=tuple(held) if os.name == "posix" else (),
        )
    except OSError as exc:
        fault = say("cannot start {program}: {why}", program=sys.executable, why=exc.strerror)
        raise EnvironmentFault(fault) from exc
    last: deque[str] = deque(maxlen=N_LAST_LINES)
    limit = threading.Timer(timeout_s, _let_go, [process]) if timeout_s else None
    try:
        if limit:
            limit.start()
        for raw in process.stdout or ():
            log.write(raw)
            log.flush()
            line = raw.decode("utf-8", "replace").rstrip()
            if line:
                last.append(line)
                on_line(line)
        return process.wait(), list(last)
    finally:
        if limit:
            limit.cancel()
        _end(process)


def _let_go(process: "subprocess.Popen[bytes]") -> None:
    """Close the supervisor's stdin, which kills what it runs."""
    if process.stdin:
        process.stdin.close()


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill what still runs and wait for the supervisor."""
    _let_go(process)
    try:
        process.wait(KILL_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()
