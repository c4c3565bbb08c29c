"""What runs under supervision dies with its parent, and with all its children."""

import io
import subprocess
import sys
import time
from pathlib import Path

from qtool.envs.task import run

BEATING = """
import subprocess, sys, time
beat = "import time\\nwhile True: open(%r, 'a').write('.'); time.sleep(0.02)" % sys.argv[1]
print("started", flush=True)
subprocess.run([sys.executable, "-c", beat])
"""
PARENT = """
import io, sys
from qtool.envs.task import run
run([sys.executable, "-c", sys.argv[2], sys.argv[1]], log=io.BytesIO(), on_line=print)
"""


def wait_for_beats(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists() or path.stat().st_size < 3:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def has_stopped(path: Path) -> bool:
    time.sleep(0.3)
    before = path.stat().st_size
    time.sleep(0.3)
    return path.stat().st_size == before


def test_grandchildren_die_when_the_parent_is_killed(tmp_path: Path) -> None:
    beats = tmp_path / "beats"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(beats), BEATING])
    wait_for_beats(beats)

    parent.kill()
    parent.wait()

    assert has_stopped(beats)


def test_a_time_limit_ends_it(tmp_path: Path) -> None:
    beats = tmp_path / "beats"
    argv = [sys.executable, "-c", BEATING, str(beats)]

    code, lines = run(argv, log=io.BytesIO(), on_line=lambda line: None, timeout_s=1)

    assert code == 128 + 9
    assert lines == ["started"]
    assert has_stopped(beats)


def test_lines_of_both_streams_are_logged_and_told() -> None:
    log, said = io.BytesIO(), []
    script = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"

    code, lines = run([sys.executable, "-c", script], log=log, on_line=said.append)

    assert code == 3
    assert sorted(said) == sorted(lines) == ["err", "out"]
    assert b"out\n" in log.getvalue()


def test_a_program_that_is_not_there_ends_with_127() -> None:
    code, lines = run(["/nowhere/python"], log=io.BytesIO(), on_line=lambda line: None)

    assert code == 127
    assert "cannot run /nowhere/python" in lines[0]
