"""``qtool serve`` with the real starter model: by the line it prints, and by ``qtool chat``."""

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

from tests.conftest import Run

pytestmark = pytest.mark.model


class Server:
    """``qtool serve`` as a process, ready."""

    def __init__(self, gguf: Path, *options: str, key: str = "") -> None:
        environ = {**os.environ, **({"QTOOL_API_KEY": key} if key else {})}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "qtool", "serve", str(gguf), "--ctx", "1024", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environ,
        )

    def read_json(self) -> dict[str, str]:
        return json.loads(self.process.stdout.readline())

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        _, self.said = self.process.communicate(timeout=20)
        return self.process.returncode


@pytest.fixture
def serve(starter_gguf: Path) -> Iterator:
    servers: list[Server] = []

    def run(*options: str, key: str = "") -> Server:
        servers.append(Server(starter_gguf, *options, key=key))
        return servers[-1]

    yield run
    for server in servers:
        if server.process.poll() is None:
            server.end()
        server.process.stdout.close()
        server.process.stderr.close()


def test_served_model_answers_chat_and_nobody_without_the_key(
    serve, run_qtool: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    server = serve("--json")
    told = server.read_json()
    assert told["url"].startswith("http://127.0.0.1:")
    assert told["url"].endswith("/v1")
    assert told["engine"] == "llama.cpp"
    key = tmp_path / "key"
    key.write_text(told["api_key"])
    talk = ("chat", "--endpoint", told["url"], "-p", "Hi", "-m", "4", "--json")
    done = run_qtool(*talk, "--api-key-file", str(key))
    assert done.returncode == 0, done.stderr
    reply = json.loads(done.stdout)
    assert reply["engine"] == "endpoint"
    assert reply["usage"]["completion_tokens"] == 4
    monkeypatch.setenv("QTOOL_API_KEY", "wrong")
    assert run_qtool(*talk).returncode == 4
    headers = {"Authorization": f"Bearer {told['api_key']}", "Origin": "https://evil.example"}
    with urlopen(Request(f"{told['url']}/models", headers=headers)) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] not in ("*", "https://evil.example")
    with pytest.raises(HTTPError) as caught:
        urlopen(f"{told['url']}/models/none")
    caught.value.close()
    assert server.end() == 0


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_printed_line_works_as_it_is(serve):
    server = serve(key="my-own-key")
    lines = [server.process.stdout.readline().rstrip() for _ in range(5)]
    assert lines[1].endswith("$QTOOL_API_KEY"), "a key that the user chose is not repeated"
    assert "my-own-key" not in "".join(lines)
    done = subprocess.run(
        ["sh", "-c", f"{lines[4]} -sS"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "QTOOL_API_KEY": "my-own-key"},
    )
    assert json.loads(done.stdout)["choices"][0]["message"]["content"]
    assert shlex.split(lines[4])[0] == "curl"


def test_other_machines_get_in_only_where_that_is_asked_and_with_the_key(serve):
    server = serve("--host", "0.0.0.0", "--json")
    told = server.read_json()
    assert "0.0.0.0" not in told["url"]
    for url in (told["url"], f"http://127.0.0.1:{urlsplit(told['url']).port}/v1"):
        with pytest.raises(HTTPError) as caught:
            urlopen(Request(f"{url}/models", headers={"Authorization": "Bearer wrong"}))
        caught.value.close()
        assert caught.value.code == 401
        headers = {"Authorization": f"Bearer {told['api_key']}"}
        with urlopen(Request(f"{url}/models", headers=headers)) as answer:
            assert json.load(answer)["data"]
    assert server.end() == 0
    assert "other machines can reach 0.0.0.0" in server.said


def test_port_that_is_taken_is_refused(serve):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = serve("--port", str(taken.getsockname()[1]))
        assert "cannot listen on port" in server.process.communicate(timeout=20)[1]
    assert server.process.returncode == 2


def test_port_that_is_asked_for_is_used_and_free_again_after_sigterm(serve):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = serve("--port", str(port), "--json")
    assert server.read_json()["url"] == f"http://127.0.0.1:{port}/v1"
    assert server.end(signal.SIGTERM) == 130
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_server_in_a_scripts_background_ends_when_told(starter_gguf: Path, number: int):
    """A shell without job control has SIGINT ignored by what it starts with &."""
    command = [sys.executable, "-m", "qtool", "serve", str(starter_gguf), "--ctx", "512", "--json"]
    script = f"trap '' INT; {shlex.join(command)} & echo $! >&2; wait"
    with subprocess.Popen(
        ["sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as shell:
        server = int(shell.stderr.readline())
        assert json.loads(shell.stdout.readline())["engine"] == "llama.cpp"
        os.kill(server, number)
        shell.communicate(timeout=20)
    with pytest.raises(ProcessLookupError):
        os.kill(server, 0)


def test_engine_that_dies_ends_the_command(serve):
    server = serve("--json")
    server.read_json()
    listed = subprocess.run(
        ["ps", "--ppid", str(server.process.pid), "-o", "pid="], capture_output=True, text=True
    )
    for pid in listed.stdout.split():
        os.kill(int(pid), signal.SIGKILL)
    assert "the engine ended" in server.process.communicate(timeout=20)[0]
    assert server.process.returncode == 7
