"""Let a child process die with its parent, also when the parent is killed with -9.

Standard library only, for use in any environment. The kernel closes the pipe to our stdin when
the parent goes, however it goes; somebody must be listening. A thread alone cannot be trusted
with that: native code that loads a model may hold the interpreter's lock for minutes (xllamacpp
does). So where there is ``fork`` a tiny sentinel process listens. ``PR_SET_PDEATHSIG`` would not
do: it fires when the *thread* that started the child ends, and Linux alone has it.
"""

import os
import select
import signal
import threading


def tie_to_parent(pipe: int = 0) -> None:
    """Kill this process with SIGKILL as soon as the pipe ``pipe`` reaches its end.

    Call it before any thread is started: it forks where it can.
    """
    if hasattr(os, "fork"):
        _fork_sentinel(pipe)
    else:
        threading.Thread(target=_await_end_in_thread, args=(pipe,), daemon=True).start()


def _fork_sentinel(pipe: int) -> None:
    engine = os.getpid()
    alive_read, alive_write = os.pipe()  # the engine alone keeps the writing end
    if os.fork():
        os.close(alive_read)
        return
    try:
        os.close(alive_write)
        _close_all_but(pipe, alive_read)
        _await_end(pipe, alive_read)
        if os.getppid() == engine:
            os.kill(engine, signal.SIGKILL)
    finally:
        os._exit(0)


def _close_all_but(*kept: int) -> None:
    """Drop inherited descriptors: an open stdout would hide the engine's end from its parent."""
    low = 0
    for descriptor in (*sorted(kept), 4096):
        if low < descriptor:  # an empty range would close everything (CPython 3.11, close_range(2))
            os.closerange(low, descriptor)
        low = descriptor + 1


def _await_end(pipe: int, alive: int) -> None:
    """Return when ``pipe`` ends or the engine does (the end of ``alive``); drop what is sent."""
    while True:
        ready, _, _ = select.select([pipe, alive], [], [])
        if alive in ready or not os.read(pipe, 4096):
            return


def _await_end_in_thread(pipe: int) -> None:
    while os.read(pipe, 4096):
        pass
    os._exit(1)
