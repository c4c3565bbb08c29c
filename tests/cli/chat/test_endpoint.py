"""``qtool chat --endpoint`` against a loopback server, without a terminal."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.openai_server import OpenAiServer
from tests.conftest import Run


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAiServer]:
    with OpenAiServer(lambda messages: iter([("hm",), "re: ", messages[-1]["content"]])) as server:
        monkeypatch.setenv("OPENAI_API_KEY", server.key)
        yield server


def test_every_line_is_a_turn_and_reasoning_is_told_apart(run_qtool: Run, server: OpenAiServer):
    done = run_qtool("chat", "--endpoint", server.url, "--json", input="/undo\nb\n")
    assert done.returncode == 0, done.stderr
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert (first["reply"], first["reasoning"]) == ("re: /undo", "hm")
    assert (second["engine"], second["model"]) == ("endpoint", "tiny")
    assert [m["content"] for m in server.bodies[1]["messages"]] == ["/undo", "re: /undo", "b"]


def test_a_stranger_gets_no_fields_that_only_ours_know(run_qtool: Run, server: OpenAiServer):
    run_qtool("chat", "--endpoint", server.url, "--temperature", "0.5", "-p", "a")
    assert set(server.bodies[0]) == {
        *("model", "messages", "stream", "stream_options", "max_tokens", "temperature")
    }


def test_model_must_be_named_among_several(run_qtool: Run, server: OpenAiServer):
    server.models = ["one", "two"]
    done = run_qtool("chat", "--endpoint", server.url, "-p", "a")
    assert done.returncode == 3
    assert "serves 2 models: one, two" in done.stderr
    assert "hint: --model one" in done.stderr
    assert run_qtool("chat", "--endpoint", server.url, "--model", "two", "-p", "a").returncode == 0
    assert server.bodies[0]["model"] == "two"


def test_wrong_key_ends_with_4_and_is_not_shown(
    run_qtool: Run, server: OpenAiServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("QTOOL_API_KEY", "wrong-secret")
    for options in ((), ("--model", "tiny"), ("--debug",)):
        done = run_qtool("chat", "--endpoint", server.url, *options, "-p", "a")
        assert done.returncode == 4
        assert "refuses the key" in done.stderr
        assert "wrong-secret" not in done.stderr


def test_options_that_contradict_one_another_are_refused(run_qtool: Run):
    for options in (
        ("--model", "x"),
        ("--api-key-file", "x"),
        ("--endpoint", "http://127.0.0.1:1", "x.gguf"),
    ):
        assert run_qtool("chat", *options, "-p", "a").returncode == 2


def test_conversation_never_takes_the_place_of_what_is_read(run_qtool: Run, tmp_path: Path):
    empty = tmp_path / "template.jinja"
    empty.write_bytes(b"")
    for options in (("-o", str(empty)), ("-io", str(tmp_path / "." / empty.name))):
        done = run_qtool("chat", "m.gguf", "--template", str(empty), "-p", "a", *options)
        assert done.returncode == 2
        assert "is read here" in done.stderr
    assert run_qtool("chat", str(empty), "-p", "a", "-o", str(empty)).returncode == 2


def test_nobody_listening_ends_with_5(run_qtool: Run):
    done = run_qtool("chat", "--endpoint", "http://127.0.0.1:1/v1", "-p", "a")
    assert done.returncode == 5
    assert "http://127.0.0.1:1" in done.stderr


def test_full_context_drops_the_oldest_unasked_or_stops_on_request(
    run_qtool: Run, server: OpenAiServer
):
    server.n_ctx_tokens = 1000
    lines = f"{'x' * 300}\n{'y' * 300}\nend\n"
    done = run_qtool("chat", "--endpoint", server.url, input=lines)
    assert done.returncode == 0, done.stderr
    assert "the oldest 2 messages were dropped: “xxx" in done.stderr
    stopped = run_qtool("chat", "--endpoint", server.url, "--overflow", "stop", input=lines)
    assert stopped.returncode == 8
    assert "the context is full" in stopped.stderr


def test_hints_repeat_the_users_own_options(run_qtool: Run, server: OpenAiServer):
    server.n_ctx_tokens = 10
    own = ("chat", "--endpoint", server.url, "-p", "a long prompt")
    done = run_qtool(*own)
    assert done.returncode == 8
    assert f"qtool chat --endpoint {server.url} -p 'a long prompt' --ctx N" in done.stderr


def test_options_of_the_usual_script_have_their_equals(
    run_qtool: Run, server: OpenAiServer, tmp_path: Path
):
    """``python chat.py MODEL -io FILE -m N --no_stream -v`` and its history files."""
    history, copy = tmp_path / "history.json", tmp_path / "copy.json"
    before = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "你好"},
        {"role": "assistant", "content": "你好！\n有什么可以帮你？"},
    ]
    with history.open("w", encoding="utf-8") as file:
        json.dump(before, file, indent=4, ensure_ascii=True)
    own = ("chat", "--endpoint", server.url, "-m", "7")
    done = run_qtool(*own, "-io", str(history), "--no-stream", "-v", input="more\nbye\nnever\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "re: more\n"
    assert "tokens in" in done.stderr
    assert server.bodies[0]["messages"] == [*before, {"role": "user", "content": "more"}]
    assert server.bodies[0]["max_tokens"] == 7
    after = json.loads(history.read_text(encoding="utf-8"))
    assert after[:3] == before
    assert [m["content"] for m in after[3:]] == ["more", "re: more"]
    run_qtool(*own, "-i", str(history), "-o", str(copy), input="x\n")
    assert json.loads(copy.read_text())[:5] == after == json.loads(history.read_text())
