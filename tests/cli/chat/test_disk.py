"""Conversations on a disk that takes nothing more."""

import resource
import sys
from pathlib import Path

from tests.cli.chat.conftest import Start, said
from tests.cli.openai_server import OpenAiServer

LIMITED = ("bash", "-c", 'ulimit -S -f 4; exec "$0" -m qtool "$@"', sys.executable)
"""No file grows beyond 4 KiB: a disk that is full, without filling one."""


def test_full_disk_costs_no_reply_and_shows_no_traceback(
    start: Start, server: OpenAiServer, own_settings: Path, tmp_path: Path
):
    server.reply = lambda messages: iter(["short" if len(messages) > 2 else "long " * 800])
    terminal = start("-o", str(tmp_path / "talk.json"), program=LIMITED)
    terminal.submit("first")
    assert "cannot write the conversation's journal" in terminal.text
    assert said(own_settings) == ["first"]
    terminal.submit("/info")
    assert "messages  2" in terminal.text, "the reply was given, and stays"
    terminal.submit("second")
    assert len(server.bodies) == 1, "what cannot be kept is not asked"
    unlimited = resource.RLIM_INFINITY
    resource.prlimit(terminal.child.pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))
    terminal.submit("/retry")
    assert said(own_settings) == ["first", "long " * 800, "second", "short"]
    assert "Traceback" not in terminal.text


def test_prompts_that_cannot_be_kept_cost_nothing_else(start: Start, own_settings: Path):
    (own_settings / "state" / "prompts").mkdir(parents=True)
    terminal = start()
    terminal.submit("你好")
    assert "You said: 你好" in terminal.text
    terminal.type("\x1b[A")
    terminal.wait(lambda: terminal.text.endswith(">>> 你好"))
