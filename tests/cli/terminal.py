"""A program on a terminal of its own, and what a person would see there."""

import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Callable

import pexpect
import pyte


class Terminal:
    """Runs qtool on a PTY and draws what it prints with pyte."""

    def __init__(
        self,
        *arguments: str,
        columns: int = 80,
        rows: int = 24,
        program: tuple[str, ...] = (sys.executable, "-m", "qtool"),
        **environ: str,
    ) -> None:
        self.screen = pyte.HistoryScreen(columns, rows, history=5000, ratio=1)
        self._stream = pyte.ByteStream(self.screen)
        self.printed = b""
        self.child = pexpect.spawn(
            program[0],
            [*program[1:], *arguments],
            timeout=30,
            env={**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", **environ},
            dimensions=(rows, columns),
        )

    def type(self, text: str) -> None:
        """Press the keys for ``text``; ``\\r`` is Enter."""
        self.child.send(text.encode())

    def paste(self, text: str) -> None:
        """Paste ``text`` as terminals do (bracketed)."""
        self.type(f"\x1b[200~{text}\x1b[201~")

    def resize(self, columns: int, rows: int = 24) -> None:
        """Give the window another size."""
        self.screen.resize(rows, columns)
        self.child.setwinsize(rows, columns)

    def wait(self, until: str | Callable[[], bool], timeout_s: float = 20) -> None:
        """Draw what comes until ``until`` (a text in view) holds.

        Raises:
            AssertionError: it does not; carries what is in view.
        """
        is_there = until if callable(until) else lambda: until in self.text
        end = time.monotonic() + timeout_s
        while not is_there():
            assert time.monotonic() < end, f"no {until!r} in:\n{self.text}"
            self.draw(0.05)

    def draw(self, timeout_s: float = 0.3) -> None:
        """Draw what comes within ``timeout_s``."""
        with contextlib.suppress(pexpect.TIMEOUT, pexpect.EOF):
            data = self.child.read_nonblocking(65536, timeout=timeout_s)
            self.printed += data
            self._stream.feed(data)

    @property
    def text(self) -> str:
        """Everything that can be seen, what has scrolled away included."""
        gone = ["".join(line[x].data for x in range(self.screen.columns)) for line in self._gone]
        lines = [line.rstrip() for line in [*gone, *self.screen.display]]
        return re.sub(r"\n+$", "", "\n".join(lines))

    @property
    def lines(self) -> list[str]:
        """The same, line by line, without empty ones."""
        return [line for line in self.text.split("\n") if line]

    @property
    def _gone(self) -> list:
        return list(self.screen.history.top)

    def wait_for_prompt(self) -> None:
        """Wait until an empty prompt is the last line."""
        self.wait(lambda: self.text.endswith("\n>>>") or self.text == ">>>")

    def submit(self, text: str) -> None:
        """Type ``text`` and Enter, and wait for the next prompt."""
        n_prompts = self.text.count(">>>")
        self.type(f"{text}\r")
        self.wait(lambda: self.text.count(">>>") > n_prompts and self.text.endswith("\n>>>"))

    def end(self) -> int:
        """Wait for the program's end and return its exit code."""
        self.wait(lambda: not self.child.isalive())
        self.draw(0)
        self.child.close()
        return self.child.exitstatus

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.child.close(force=True)
        except pexpect.ExceptionPexpect:  # a tenth of a second is too little on a busy machine
            os.kill(self.child.pid, signal.SIGKILL)
            os.waitpid(self.child.pid, 0)
