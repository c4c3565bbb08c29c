"""A program at work on one file: started, watched, ended."""

import contextlib
import logging
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from qtool.download.backends.program import Order, Program, ProgramFailure
from qtool.download.disk import size_on_disk
from qtool.errors import QtoolError
from qtool.hub.origin import redact

log = logging.getLogger(__name__)

POLL_S = 0.05
# Both programs try again by themselves when a connection stalls, or never: so long is never.
STALL_S = 30.0
GRACE_S = 0.5
OUTPUT_TAIL_BYTES = 4096
SECRETS = frozenset({"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"})


class Stopped(Exception):
    """The user asked to stop."""


def run_program(
    program: Program,
    order: Order,
    claim_fd: int,
    stop: threading.Event,
    on_size: Callable[[int], None],
) -> None:
    """Have ``program`` carry out ``order``; ``on_size`` is told how many bytes are there.

    The child inherits ``claim_fd``, and with it the lock of the folder that it writes to.
    Raises ProgramFailure for what may succeed when tried again, QtoolError for what will not,
    Stopped when ``stop`` is set. In any case the child has ended afterwards.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            program.command(order),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=_environment(program.environment(order), os.environ),
            pass_fds=(claim_fd,),
            start_new_session=True,  # Ctrl+C on the terminal is for qtool, which ends it in order
        )
        try:
            _instruct(process, program.instructions(order))
            _watch(process, order.target, stop, on_size)
        finally:
            _end(process)
        if process.returncode:
            raise _failure(program, process.returncode, _tail(output), order)
    on_size(size_on_disk(order.target))


def _instruct(process: "subprocess.Popen[bytes]", instructions: bytes) -> None:
    if process.stdin is None:
        raise AssertionError("the child was started with a pipe")
    with contextlib.suppress(BrokenPipeError):  # it died already; its exit code says why
        process.stdin.write(instructions)
        process.stdin.close()


def _watch(
    process: "subprocess.Popen[bytes]",
    target: Path,
    stop: threading.Event,
    on_size: Callable[[int], None],
) -> None:
    """Wait for the end. Raises Stopped, and ProgramFailure for a standstill."""
    known, changed_s = size_on_disk(target), time.monotonic()
    while process.poll() is None:
        if stop.wait(POLL_S):
            raise Stopped
        size = size_on_disk(target)
        if size != known:
            known, changed_s = size, time.monotonic()
            on_size(size)
        elif time.monotonic() - changed_s > STALL_S:
            raise ProgramFailure(f"no byte for {STALL_S:.0f} s")


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
    if process.poll() is None:
        process.kill()
        process.wait()
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def _environment(extra: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the user's environment without tokens and proxies, which qtool decides upon."""
    kept = {
        name: value
        for name, value in environ.items()
        if name not in SECRETS and not name.lower().endswith("_proxy")
    }
    return {**kept, **extra}


def _failure(
    program: Program, returncode: int, output: str, order: Order
) -> ProgramFailure | QtoolError:
    output = output.replace(order.url, redact(order.url))
    log.debug("%s ended with %d: %s", program.command(order)[0], returncode, output)
    reason = program.explain(returncode, output, order)
    return ProgramFailure(reason) if isinstance(reason, str) else reason


def _tail(output: IO[bytes]) -> str:
    end = output.seek(0, os.SEEK_END)
    output.seek(max(0, end - OUTPUT_TAIL_BYTES))
    return output.read().decode("utf-8", "replace")
