"""Real processes: the engine's program must not outlive whoever started it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

CHILD = """
import time
from qtool.engines.lifeline import tie_to_parent
tie_to_parent(0)
print("up", flush=True)
end = time.monotonic() + 30
{work}
"""
IDLE = "time.sleep(30)"
HOLDS_THE_LOCK = "import re; re.match(r'(a+)+b', 'a' * 40)"
"""Native code that keeps the interpreter's lock for ages, as a model's loader does."""


def start(work: str) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD.format(work=work)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    return process


def wait_for(condition: Callable[[], bool], timeout_s: float = 3) -> bool:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return condition()


def session_members(session_id: int) -> list[int]:
    """Return the processes of a session: the child and its sentinel."""
    listed = subprocess.run(
        ["ps", "-o", "pid=,stat=", "-s", str(session_id)],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    rows = [line.split() for line in listed.splitlines()]
    return [int(pid) for pid, state in rows if not state.startswith("Z")]


@pytest.mark.parametrize("work", [IDLE, HOLDS_THE_LOCK], ids=["idle", "holds the lock"])
def test_child_dies_when_the_pipe_ends(work: str):
    with start(work) as process:
        assert len(session_members(process.pid)) == 2
        process.stdin.close()
        assert process.wait(3) == -signal.SIGKILL
        assert wait_for(lambda: not session_members(process.pid))


def test_sentinel_goes_when_the_child_is_killed():
    with start(IDLE) as process:
        process.kill()
        process.wait(3)
        assert wait_for(lambda: not session_members(process.pid))


def test_child_dies_with_a_parent_that_was_killed():
    script = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {CHILD.format(work=IDLE)!r}],"
        " stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert session_members(child)
        os.kill(parent.pid, signal.SIGKILL)
        assert wait_for(lambda: not session_members(child))
