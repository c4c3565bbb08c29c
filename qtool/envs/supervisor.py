"""Runs a program that dies with us, with all its children: the program of ``task.run``.

``python -I supervisor.py PROGRAM ARGUMENTS...`` runs it in a session of its own, passes stdout and
stderr through, and ends with its code. The end of our stdin means that the parent is gone, by
Ctrl+C or by ``kill -9``: then the whole session is killed, so that no installer goes on writing.
Standard library only.
"""

import os
import signal
import subprocess
import sys
import threading

KILLED = 137


def main(argv: list[str]) -> int:
    """Run ``argv`` and return its exit code, 128 + N where signal N ended it."""
    try:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as exc:
        sys.stderr.write(f"cannot run {argv[0]}: {exc.strerror}\n")
        return 127
    watcher = threading.Thread(target=_kill_when_parent_ends, args=(process,), daemon=True)
    watcher.start()
    code = process.wait()
    _kill_session(process.pid)  # whatever it left running
    return 128 - code if code < 0 else code


def _kill_when_parent_ends(process: "subprocess.Popen[bytes]") -> None:
    while os.read(0, 4096):
        pass
    _kill_session(process.pid)
    process.kill()


def _kill_session(leader: int) -> None:
    if hasattr(os, "killpg"):
        try:
            os.killpg(leader, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
