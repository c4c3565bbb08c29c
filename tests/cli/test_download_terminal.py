"""``qtool download`` on a real terminal: what is asked, shown, and left behind."""

import contextlib
import os
import sys
from pathlib import Path

import pexpect
import pyte
import pytest

from qtool.cli.download_view import rate_note
from qtool.download.events import Progress
from tests.hub import Fault, FaultKind, Generated, Repo

MIB = 1024 * 1024
QUANTS = {
    "README.md": b"about",
    "m-Q2_K.gguf": b"2" * 1000,
    "m-Q4_K_M.gguf": b"4" * 2000,
    "m-Q8_0.gguf": b"8" * 4000,
}


@pytest.fixture
def start(tmp_path):
    """Start ``qtool download`` on a terminal of some width."""

    def run(hub, *arguments, columns=80):
        root = str(Path(__file__).parents[2])
        child = pexpect.spawn(
            sys.executable,
            ["-m", "qtool", "download", *arguments],
            cwd=tmp_path,
            env={
                **os.environ,
                "HF_ENDPOINT": hub.url,
                "TERM": "xterm-256color",
                "PYTHONPATH": root,
                "COLUMNS": str(columns),
            },
            encoding="utf-8",
            dimensions=(24, columns),
            timeout=30,
        )
        child.logfile_read = Recorder(columns)
        return child

    return run


class Recorder:
    """A terminal that draws what is written to it."""

    def __init__(self, columns):
        self.screen = pyte.Screen(columns, 24)
        self._stream = pyte.Stream(self.screen)

    def write(self, text):
        self._stream.feed(text)

    def flush(self):
        """Do nothing: everything is drawn at once."""

    def lines(self):
        return [line.rstrip() for line in self.screen.display if line.strip()]


def end(child):
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus


@pytest.fixture
def hub(hub_factory):
    return hub_factory([Repo("org/name", QUANTS)])


def quants(folder):
    return sorted(path.name for path in (folder / "name").glob("*.gguf"))


def test_quantizations_are_listed_with_sizes_and_enter_takes_the_usual(start, hub, tmp_path):
    child = start(hub, "org/name")
    child.expect(r"Which one\? \[Q4_K_M\]")
    listed = child.logfile_read.lines()
    assert any("1  Q2_K" in line and "1 kB" in line and "fits" in line for line in listed)
    assert not any("asking" in line for line in listed)
    child.sendline("")
    assert end(child) == 0
    assert quants(tmp_path) == ["m-Q4_K_M.gguf"]
    assert (tmp_path / "name/README.md").exists()


@pytest.mark.parametrize("answer", ["3", "q8_0", "9\r\nnope\r\nQ8_0"])
def test_answer_is_a_number_or_a_name_and_is_asked_for_again(start, hub, tmp_path, answer):
    child = start(hub, "org/name")
    for line in answer.split("\r\n"):
        child.expect("Which one")
        child.sendline(line)
    assert end(child) == 0
    assert quants(tmp_path) == ["m-Q8_0.gguf"]


def test_answer_that_is_no_text_is_asked_for_again(start, hub, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8:strict")  # as in a locale such as en_US.UTF-8
    child = start(hub, "org/name")
    child.expect("Which one")
    child.setecho(False)
    os.write(child.child_fd, b"\xff\xfe\n")
    child.expect("there is no")
    child.sendline("Q8_0")
    assert end(child) == 0
    assert quants(tmp_path) == ["m-Q8_0.gguf"]


def test_unknown_quantization_is_asked_about(start, hub, tmp_path):
    child = start(hub, "org/name:Q9_X")
    child.expect("no single quantization 'Q9_X'")
    child.expect("Which one")
    child.sendline("1")
    assert end(child) == 0
    assert quants(tmp_path) == ["m-Q2_K.gguf"]


@pytest.mark.parametrize("key", ["c", "d"])
def test_leaving_the_question_is_an_interruption(start, hub, tmp_path, key):
    child = start(hub, "org/name")
    child.expect("Which one")
    child.sendcontrol(key)
    assert end(child) == 130
    assert not (tmp_path / "name").exists()
    assert "stopped" not in " ".join(child.logfile_read.lines())


@pytest.mark.parametrize(("line", "quant"), [("\x1b[B", "Q4_K_M"), ("q80", "Q8_0")])
def test_arrow_keys_and_names_without_their_marks(start, hub, tmp_path, line, quant):
    child = start(hub, "org/name")
    child.expect("Which one")
    child.sendline(line)
    if line.startswith("\x1b"):
        child.expect("arrow keys are not for this: a number from 1 to")
        child.sendline("")
    assert end(child) == 0
    assert quants(tmp_path) == [f"m-{quant}.gguf"]


@pytest.mark.parametrize("arguments", [["--json"], ["--quiet"], ["--dry-run"]])
def test_nobody_is_asked_where_the_output_is_not_for_people(start, hub, arguments):
    assert end(start(hub, "org/name", *arguments)) == 0


def test_nobody_is_asked_without_a_terminal(run_qtool, hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    done = run_qtool("download", "org/name", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert quants(tmp_path) == ["m-Q4_K_M.gguf"]
    assert "Q4_K_M taken out of" in done.stderr


def test_who_is_asked_is_shown_meanwhile_and_erased(start, hub_factory):
    hub = hub_factory([Repo("org/name", {"a.txt": b"1"})])
    hub.add_fault(Fault(FaultKind.STALL, path="*", at=0.0, role="hub", times=1))
    child = start(hub, "org/name")
    child.expect("asking 127.0.0.1")
    end(child)
    assert not any("asking" in line for line in child.logfile_read.lines())


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_ctrl_c_leaves_a_clean_end_and_the_way_to_go_on(start, hub_factory, columns):
    repo = Repo("org/name", {"model-Q4_K_M.gguf": Generated(40 * MIB)})
    child = start(hub_factory([repo], rate_bytes_per_s=MIB // 4), "org/name", columns=columns)
    child.expect(r"\d MB/s")
    child.expect(r"of 41\.9 MB")
    with contextlib.suppress(pexpect.TIMEOUT):
        child.expect("never", timeout=0.3)
    drawn = child.logfile_read.lines()
    assert any("all" in line and "%" in line for line in drawn)
    assert not any("…" in line.partition("%")[2] for line in drawn)
    child.sendcontrol("c")
    assert end(child) == 130
    left = child.logfile_read.lines()
    assert not any("%" in line for line in left), left
    assert "go on, run the same command again" in " ".join(left)
    assert not any("^C" in line for line in left)


@pytest.mark.parametrize("rate_bytes_per_s", [MIB // 64, MIB // 4, 64 * MIB])
def test_nothing_is_cut_off_on_a_narrow_terminal_however_slow(rate_bytes_per_s):
    for left_s in (0.4, 59.6, 754, 12_345):
        left = round(left_s * rate_bytes_per_s)
        progress = Progress(0, left, rate_bytes_per_s, 0, 1, ())
        line = f"{'x' * 10} 100 % {rate_note(progress, is_short=True)}"
        assert len(line) <= 40 - len("^C^C"), line
