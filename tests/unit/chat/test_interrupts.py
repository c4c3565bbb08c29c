import io
import os
import signal
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from qtool.chat.editor import LineEditor
from qtool.chat.interrupts import stoppable, unheard


def press() -> None:
    """Send Ctrl+C and let its handler run."""
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):
        pass


def test_first_ctrl_c_stops_and_those_after_it_do_nothing():
    with unheard():
        press()
        with stoppable():
            with pytest.raises(KeyboardInterrupt):
                press()
            press()
        press()
        with stoppable(), pytest.raises(KeyboardInterrupt):
            press()
    with pytest.raises(KeyboardInterrupt):
        press()


def test_stop_within_a_stop_can_be_used_up_by_itself():
    with stoppable():
        with stoppable():
            with pytest.raises(KeyboardInterrupt):
                press()
            press()
        with pytest.raises(KeyboardInterrupt):
            press()


def test_ctrl_c_that_the_shell_ignores_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with unheard(), stoppable():
            press()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_leave_signals_alone():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work() -> None:
        with unheard(), stoppable():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


class _Pressed(LineEditor):
    """Ctrl+C comes while prompt_toolkit is imported."""

    def _make_session(self) -> SimpleNamespace:
        os.kill(os.getpid(), signal.SIGINT)
        return SimpleNamespace(prompt=lambda *_, **__: "typed")


def test_line_editor_is_imported_whole_whatever_is_pressed(tmp_path: Path):
    with stoppable():
        assert _Pressed(tmp_path / "prompts", io.StringIO()).read() == "typed"
