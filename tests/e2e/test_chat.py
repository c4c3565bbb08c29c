"""Conversations with the real starter model: through a pipe, a terminal, and after a kill -9."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from qtool.chat.history import load_history
from qtool.chat.journal import last_journal, read_journal
from tests.conftest import Run

pytestmark = pytest.mark.model

ADA = "My name is Ada.\nWhat is my name?\n"
GREEDY = ("--temperature", "0", "-m", "40")


@pytest.fixture(autouse=True)
def starter_in_cache(starter_gguf: Path, own_settings: Path) -> None:
    """Let the program find the starter model where it keeps it."""
    cache = own_settings / "cache"
    cache.mkdir()
    (cache / "starters").symlink_to(starter_gguf.parent.parent)


@pytest.fixture
def terminal() -> Iterator["pexpect.spawn[str]"]:
    """Return the program in a conversation, on a terminal of 80 columns."""
    child = spawn("chat", "starter", *GREEDY)
    yield child
    child.close(force=True)


def spawn(*arguments: str) -> "pexpect.spawn[str]":
    environ = {**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
    return pexpect.spawn(
        sys.executable,
        ["-m", "qtool", *arguments],
        encoding="utf-8",
        timeout=30,
        env=environ,
        dimensions=(24, 80),
    )


def say(child: "pexpect.spawn[str]", text: str) -> None:
    """Type ``text`` at the prompt and skip its echo: what follows is the program's answer."""
    child.send(f"{text}\r")
    child.expect_exact("\x1b[?2004l")  # line editing ends: bracketed paste is switched off


def engine_processes() -> list[int]:
    """Return the processes of engines that this test has started, and that still run."""
    listed = subprocess.run(
        ["ps", "-ww", "-eo", "pid=,args="], capture_output=True, text=True, check=True
    )
    rows = [line.split(None, 1) for line in listed.stdout.splitlines()]
    engines = [int(pid) for pid, args in rows if "qtool.engines.llama_cpp_server" in args]
    return [pid for pid in engines if is_ours(pid)]


def is_ours(pid: int) -> bool:
    """Return whether a process has this test's home folder; others may run engines meanwhile."""
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return f"HOME={os.environ['HOME']}".encode() in environ.split(b"\0")


def engines_of(child: "pexpect.spawn[str]") -> list[int]:
    """Return the processes that ``child`` has started."""
    listed = subprocess.run(
        ["ps", "--ppid", str(child.pid), "-o", "pid="], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in listed.stdout.split()]


def wait_until_no_engine(timeout_s: float = 3) -> bool:
    end = time.monotonic() + timeout_s
    while engine_processes() and time.monotonic() < end:
        time.sleep(0.05)
    return not engine_processes()


def test_two_turns_through_a_pipe_remember(run_qtool: Run):
    done = run_qtool("chat", "starter", input=ADA)
    assert done.returncode == 0, done.stderr
    assert "Ada" in done.stdout.splitlines()[-1]
    assert wait_until_no_engine()


def test_second_turn_reads_only_what_is_new(run_qtool: Run):
    done = run_qtool("chat", "starter", "--json", *GREEDY, input=ADA)
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert first["usage"]["cached_tokens"] == 0
    read = second["usage"]["prompt_tokens"] - second["usage"]["cached_tokens"]
    assert second["usage"]["prompt_tokens"] > first["usage"]["prompt_tokens"]
    assert read < 20
    assert set(second) == {
        *("schema_version", "reply", "reasoning", "finish_reason", "engine", "model"),
        *("usage", "timings"),
    }
    assert second["timings"]["decode_tokens_per_s"] > 0


def test_prompt_and_piped_text_are_one_turn(run_qtool: Run):
    done = run_qtool("chat", "starter", "-p", "What is the capital of", input="France?")
    assert "Paris" in done.stdout


def test_exit_word_ends_a_piped_conversation(run_qtool: Run):
    done = run_qtool("chat", "starter", "--json", *GREEDY, input="Hi.\nbye\nnever said\n")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1


def test_history_is_loaded_saved_and_continued(run_qtool: Run, tmp_path: Path):
    history = tmp_path / "h.json"
    first = run_qtool("chat", "starter", "-io", str(history), *GREEDY, input="My name is Ada.\n")
    assert first.returncode == 0, first.stderr
    assert [m.role for m in load_history(history)] == ["system", "user", "assistant"]
    run_qtool("chat", "starter", "-io", str(history), *GREEDY, input="What is my name?\n")
    messages = load_history(history)
    assert len(messages) == 5
    assert "Ada" in messages[-1].content
    done = run_qtool("chat", "starter", "-c", "-o", str(tmp_path / "c.json"), *GREEDY, input="Hi\n")
    assert done.returncode == 0, done.stderr
    assert load_history(tmp_path / "c.json")[:5] == messages


def test_damaged_history_ends_with_6_and_is_left_alone(run_qtool: Run, tmp_path: Path):
    history = tmp_path / "h.json"
    history.write_text('[{"role": "user",')
    done = run_qtool("chat", "starter", "-io", str(history), input="Hi\n")
    assert done.returncode == 6
    assert "line 1, column 18" in done.stderr
    assert history.read_text() == '[{"role": "user",'


def test_system_prompt_sampling_and_length_reach_the_model(run_qtool: Run):
    options = ("--temperature", "1.5", "--seed", "7", "-m", "12", "-s", "You are a pirate.")
    one, two, other = (
        run_qtool("chat", "starter", "--json", "-p", "Hello!", *options, *extra)
        for extra in ((), (), ("--seed", "8"))
    )
    replies = [json.loads(done.stdout)["reply"] for done in (one, two, other)]
    assert replies[0] == replies[1] != replies[2]
    assert json.loads(one.stdout)["finish_reason"] == "length"
    assert json.loads(one.stdout)["usage"]["completion_tokens"] == 12


def test_full_context_drops_the_oldest_turns(run_qtool: Run):
    lines = "".join(f"Tell me about the number {n}.\n" for n in range(5))
    done = run_qtool("chat", "starter", "--ctx", "256", *GREEDY, input=lines)
    assert done.returncode == 0, done.stderr
    assert "the context is full: the oldest 2 messages were dropped" in done.stderr


def test_context_beyond_the_models_own_is_refused(run_qtool: Run):
    done = run_qtool("chat", "starter", "--ctx", "9000", "-p", "Hi")
    assert done.returncode == 2
    assert "hint: --ctx 8192" in done.stderr


def test_truncated_model_ends_with_6(run_qtool: Run, starter_gguf: Path, tmp_path: Path):
    path = tmp_path / "m.gguf"
    with starter_gguf.open("rb") as file:
        path.write_bytes(file.read(50_000_000))
    done = run_qtool("chat", str(path), "-p", "Hi")
    assert done.returncode == 6, done.stderr
    assert str(path) in done.stderr


def test_terminal_streams_and_ctrl_d_saves(tmp_path: Path):
    history = tmp_path / "h.json"
    child = spawn("chat", "starter", "-o", str(history), "--temperature", "0", "-m", "200")
    child.expect(">>>")
    say(child, "Write a long story about a cat.")
    pieces = []
    while ">>>" not in "".join(pieces):
        pieces.append(child.read_nonblocking(4096, timeout=20))
    assert len(pieces) > 20, "the reply came in a few lumps instead of streaming"
    child.sendeof()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert [m.role for m in load_history(history)] == ["system", "user", "assistant"]
    assert wait_until_no_engine()


def test_prompt_is_there_before_the_model(terminal: "pexpect.spawn[str]"):
    started_at = time.monotonic()
    terminal.expect("SmolLM2-135M-Instruct, a small model that knows English only.*>>>")
    assert time.monotonic() - started_at < 2
    say(terminal, "What is the capital of France?")
    terminal.expect("Paris")


def test_ctrl_c_stops_the_reply_and_the_conversation_goes_on(own_settings: Path):
    child = spawn("chat", "starter", "--temperature", "0", "-m", "2000")
    child.expect(">>>")
    say(child, "Write a long story about a cat.")
    child.expect("Once upon")
    child.sendintr()
    child.expect(r"\[stopped\]")
    child.expect(">>>")
    child.sendintr()
    child.expect("ends the conversation")
    say(child, "What is the capital of France?")
    child.expect("Paris")
    child.expect(">>>")
    say(child, "exit")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    messages = read_journal(last_journal(own_settings / "state" / "conversations"))
    assert messages[2].is_partial


def test_killed_engine_costs_one_reply(own_settings: Path, terminal: "pexpect.spawn[str]"):
    terminal.expect(">>>")
    say(terminal, "My name is Ada.")
    terminal.expect(r"glad.*>>>")
    for pid in engine_processes():
        os.kill(pid, signal.SIGKILL)
    assert wait_until_no_engine()
    say(terminal, "What is my name?")
    terminal.expect("name is Ada.*>>>")


def test_engine_killed_in_mid_reply_costs_the_rest_of_it(own_settings: Path):
    child = spawn("chat", "starter", "--temperature", "0", "-m", "2000")
    child.expect(">>>")
    say(child, "Write a long story about a cat.")
    child.expect("Once upon")
    for pid in engines_of(child):
        os.kill(pid, signal.SIGKILL)
    child.expect("error:.*>>>")
    say(child, "What is the capital of France?")
    child.expect("Paris")
    child.expect(">>>")
    child.sendeof()
    child.expect(pexpect.EOF)
    child.close()
    messages = read_journal(last_journal(own_settings / "state" / "conversations"))
    assert messages[2].is_partial
    assert messages[2].content.startswith("Once upon")
    assert messages[3].content == "What is the capital of France?"
    assert wait_until_no_engine()


@pytest.mark.parametrize("is_loaded", [False, True], ids=["while loading", "in mid-reply"])
def test_no_engine_is_left_when_qtool_is_killed(is_loaded: bool, own_settings: Path):
    child = spawn("chat", "starter", "--temperature", "0", "-m", "2000")
    child.expect(">>>")
    if is_loaded:
        say(child, "Write a long story about a cat.")
        child.expect("Once upon")
    assert engine_processes()
    os.kill(child.pid, signal.SIGKILL)
    assert wait_until_no_engine(3)
    child.close(force=True)
    if is_loaded:
        messages = read_journal(last_journal(own_settings / "state" / "conversations"))
        assert messages[-1].content.startswith("Write")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_terminated_chat_keeps_what_was_said_and_leaves_no_engine(name: str, own_settings: Path):
    child = spawn("chat", "starter", "--temperature", "0", "-m", "2000")
    child.expect(">>>")
    say(child, "Write a long story about a cat.")
    child.expect("Once upon")
    os.kill(child.pid, getattr(signal, name))
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
    assert wait_until_no_engine(3)
    messages = read_journal(last_journal(own_settings / "state" / "conversations"))
    assert messages[-1].is_partial
    assert messages[-1].content.startswith("Once upon")


def test_terminated_chat_at_the_prompt_ends():
    child = spawn("chat", "starter")
    child.expect(">>>")
    os.kill(child.pid, signal.SIGTERM)
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
    assert wait_until_no_engine(3)


def test_engine_killed_while_it_loads_is_started_again(terminal: "pexpect.spawn[str]"):
    terminal.expect(">>>")
    for pid in engine_processes():
        os.kill(pid, signal.SIGKILL)
    say(terminal, "What is the capital of France?")
    if terminal.expect(["Paris", "killed by signal 9"]):
        terminal.expect(">>>")
        say(terminal, "What is the capital of France?")
        terminal.expect("Paris")


def test_prompt_that_is_an_exit_word_is_answered(run_qtool: Run):
    done = run_qtool("chat", "starter", "--json", "-p", "exit", *GREEDY)
    assert json.loads(done.stdout)["reply"]


def test_server_wants_its_key_and_lets_no_foreign_page_in(starter_gguf: Path):
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    from qtool.chat.plan import EngineWish, plan_engine
    from qtool.models.local import LocalModel

    with plan_engine(LocalModel(starter_gguf), EngineWish()).keeper as keeper:
        endpoint = keeper.endpoint()
        assert endpoint.url.startswith("http://127.0.0.1:")
        with pytest.raises(HTTPError) as caught:
            urlopen(Request(f"{endpoint.url}/v1/chat/completions", b"{}"))
        assert caught.value.code == 401
        caught.value.close()
        headers = {"Authorization": f"Bearer {endpoint.api_key}", "Origin": "https://evil.example"}
        with urlopen(Request(f"{endpoint.url}/v1/models", headers=headers)) as answer:
            allowed = answer.headers["Access-Control-Allow-Origin"]
        assert allowed not in ("*", "https://evil.example")


def test_commands_that_ask_the_engine(terminal: "pexpect.spawn[str]", tmp_path: Path):
    (tmp_path / "note.txt").write_text("hello there " * 20)
    terminal.expect(">>>")
    say(terminal, "What is the capital of France?")
    terminal.expect("Paris.*>>>")
    say(terminal, "/template")
    terminal.expect("<.im_start.>user\r\nWhat is the capital of France.*<.im_end.>.*>>>")
    say(terminal, f"/file {tmp_path / 'note.txt'}")
    terminal.expect(r"note.txt \(1 line, \d\d tokens\) goes with")
    terminal.expect(">>>")
    say(terminal, "/info")
    terminal.expect(r"engine    llama.cpp at http://127.0.0.1:\d+")
    terminal.expect(r"context   \d+% full \(\d+ of \d+ tokens\)")


def test_another_model_goes_on_and_the_first_engine_ends(
    terminal: "pexpect.spawn[str]", starter_gguf: Path, tmp_path: Path
):
    other = tmp_path / "other.gguf"
    other.symlink_to(starter_gguf)
    terminal.expect(">>>")
    say(terminal, "My name is Ada.")
    terminal.expect(">>>")
    before = engines_of(terminal)
    say(terminal, f"/model {other}")
    terminal.expect("going on with other.gguf.*>>>")
    say(terminal, "What is my name?")
    terminal.expect("Ada.*>>>")
    assert len(before) == len(engines_of(terminal)) == 1
    assert engines_of(terminal) != before
    say(terminal, "/model /no/such/model.gguf")
    terminal.expect("error:.*>>>")
    say(terminal, "What is the capital of France?")
    terminal.expect("Paris")


def test_full_context_is_summed_up_by_the_model(run_qtool: Run, own_settings: Path):
    lines = "".join(f"Tell me about the number {n}.\n" for n in range(5))
    options = ("--ctx", "400", "--overflow", "summarise", "--temperature", "0", "-m", "100")
    done = run_qtool("chat", "starter", *options, input=lines)
    assert done.returncode == 0, done.stderr
    assert "were summed up: “Tell me about the number" in done.stderr
    journal = last_journal(own_settings / "state" / "conversations")
    said = [message.content for message in read_journal(journal) if message.role == "user"]
    assert said == lines.splitlines(), "the conversation keeps what the model is not given"
    steps = [json.loads(line) for line in journal.read_text().splitlines()]
    assert any(step.get("dropped") and step.get("summary") for step in steps)


@pytest.mark.skipif(sys.platform != "linux", reason="bounds of memory: Linux")
def test_memory_that_does_not_suffice_is_told_with_figures(run_qtool: Run, starter_gguf: Path):
    command = [sys.executable, "-m", "qtool", "chat", str(starter_gguf), "--ctx", "8192", "-p", "x"]
    done = subprocess.run(
        ["sh", "-c", f"ulimit -v 400000; exec {shlex.join(command)}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 8, done.stderr
    assert "memory ran out\n  weights 96.6 MB, 307 MB in all" in done.stderr
    assert "410 MB can be had now" in done.stderr
