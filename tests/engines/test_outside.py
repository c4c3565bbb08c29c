"""Servers that are not ours, with a stub in the place of each: arguments, key, life and death."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path

import pytest

from qtool.engines import llama_cpp_python, llama_server, vllm
from qtool.engines.base import Endpoint, EngineKind, EngineOptions, Launch
from qtool.engines.interpreters import EnginePython
from qtool.engines.process import EngineProcess
from qtool.errors import EnvironmentFault, UsageError
from qtool.models.info import ModelFormat, ModelInfo

STUB = Path(__file__).with_name("stub_server.py")
INFO = ModelInfo(
    path=Path("/models/m.gguf"),
    format=ModelFormat.GGUF,
    files=(Path("/models/m.gguf"),),
    context_length_tokens=4096,
)
CHECKPOINT = replace(
    INFO, path=Path("/models/m"), format=ModelFormat.AWQ, files=(Path("/models/m/a.safetensors"),)
)
SERVER_VERSIONS = dict.fromkeys(("fastapi", "uvicorn", "pydantic-settings"), "1")


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STUB_REPORT", str(tmp_path / "report.json"))
    return tmp_path / "report.json"


@pytest.fixture
def program(tmp_path: Path) -> str:
    """Return a ``llama-server`` that is the stub."""
    path = tmp_path / "bin" / "llama-server"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nexec {sys.executable} {STUB} "$@"\n')
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EnginePython:
    """Return an interpreter in which ``vllm`` and ``llama_cpp`` are the stub."""
    for name in ("vllm/entrypoints/openai/api_server.py", "llama_cpp/server/__main__.py"):
        (tmp_path / "packages" / name).parent.mkdir(parents=True)
        shutil.copy(STUB, tmp_path / "packages" / name)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    versions = {"vllm": "0.30", "llama-cpp-python": "0.3", **SERVER_VERSIONS}
    return EnginePython(sys.executable, "--python names it", versions, is_isolated=False)


@contextmanager
def running(launch: Launch) -> Iterator[tuple[EngineProcess, Endpoint]]:
    process = EngineProcess(launch)
    try:
        endpoint = process.wait_until_ready(20)
        assert endpoint is not None
        yield process, endpoint
    finally:
        process.stop()


def options_of(argv: list[str]) -> dict[str, str]:
    """Return the value of each option that has one."""
    pairs = zip(argv, [*argv[1:], "--"], strict=True)
    return {one: two for one, two in pairs if one.startswith("--") and not two.startswith("--")}


def is_gone(pid: int) -> bool:
    """Tell whether a process ended; a zombie that nobody has buried yet has."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            if ") Z " in Path(f"/proc/{pid}/stat").read_text():
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def test_llama_server_is_told_everything_and_ready_only_when_it_has_loaded(
    program: str, report: Path
):
    options = EngineOptions(
        n_gpu_layers=20, n_threads=3, cache_type="q8_0", chat_template="{{ messages }}",
        arguments=("--numa", "distribute"),
    )  # fmt: skip
    started_at = time.monotonic()
    launch = llama_server.plan_launch(program, INFO, options, n_ctx_tokens=2048)
    with running(launch) as (_, endpoint):
        assert time.monotonic() - started_at > 0.4
        told = json.loads(report.read_text())
        assert endpoint.engine == "llama.cpp"
        given = options_of(told["argv"])
        assert given["--model"] == "/models/m.gguf"
        assert given["--alias"] == endpoint.model == "m.gguf"
        assert given["--host"] == "127.0.0.1"
        assert endpoint.url == f"http://127.0.0.1:{given['--port']}"
        assert (given["--ctx-size"], given["--n-gpu-layers"], given["--threads"]) == (
            "2048",
            "20",
            "3",
        )
        assert given["--cache-type-k"] == given["--cache-type-v"] == "q8_0"
        assert given["--chat-template"] == "{{ messages }}"
        assert told["argv"][-2:] == ["--numa", "distribute"]
        assert told["keys"] == {"LLAMA_API_KEY": endpoint.api_key}
        assert endpoint.api_key not in " ".join(told["argv"])


def test_llama_cpp_python_is_told_everything(python: EnginePython, report: Path):
    options = EngineOptions(n_gpu_layers=33, cache_type="q8_0")
    launch = llama_cpp_python.plan_launch(python, INFO, options, n_ctx_tokens=1024)
    with running(launch) as (_, endpoint):
        told = json.loads(report.read_text())
        given = options_of(told["argv"])
        assert (given["--n_ctx"], given["--n_gpu_layers"]) == ("1024", "33")
        assert given["--model_alias"] == "m.gguf"
        assert (given["--type_k"], given["--type_v"], given["--flash_attn"]) == ("8", "8", "true")
        assert told["keys"] == {"API_KEY": endpoint.api_key}


def test_vllm_is_told_everything(python: EnginePython, report: Path):
    options = EngineOptions(
        n_ctx_tokens=2048, n_tensor_parallel=2, is_code_trusted=True,
        arguments=("--pipeline-parallel-size=2", "--distributed-executor-backend=ray"),
    )  # fmt: skip
    with running(vllm.plan_launch(CHECKPOINT, options, python)) as (_, endpoint):
        told = json.loads(report.read_text())
        given = options_of(told["argv"])
        assert endpoint.engine == "vllm"
        assert (given["--model"], given["--served-model-name"]) == ("/models/m", "m")
        assert (given["--max-model-len"], given["--tensor-parallel-size"]) == ("2048", "2")
        assert (given["--dtype"], given["--load-format"]) == ("float16", "safetensors")
        assert "*" not in given["--allowed-origins"]
        assert "--trust-remote-code" in told["argv"]
        assert told["argv"][-2:] == list(options.arguments)
        assert told["keys"] == {"VLLM_API_KEY": endpoint.api_key}


def test_plain_model_keeps_its_float_type_in_vllm(python: EnginePython):
    plain = replace(CHECKPOINT, format=ModelFormat.PLAIN)
    command = vllm.plan_launch(plain, EngineOptions(), python).settings["command"]
    assert "--dtype" not in command
    assert "--trust-remote-code" not in command


@pytest.mark.parametrize(
    "options", [EngineOptions(n_gpu_layers=3), EngineOptions(cache_type="q8_0")]
)
def test_options_that_vllm_does_not_have_are_refused(python: EnginePython, options: EngineOptions):
    with pytest.raises(UsageError):
        vllm.plan_launch(CHECKPOINT, options, python)


def test_key_and_port_of_the_user_are_used(program: str, report: Path):
    launch = llama_server.plan_launch(program, INFO, EngineOptions(), n_ctx_tokens=512)
    launch = replace(launch, settings={**launch.settings, "api_key": "own"})
    with running(launch) as (_, endpoint):
        connection = HTTPConnection(endpoint.url.removeprefix("http://"))
        connection.request("GET", "/v1/models", headers={"Authorization": "Bearer own"})
        assert connection.getresponse().status == 200
        connection.close()


def test_program_that_fails_is_reported_with_its_words(program: str):
    launch = llama_server.plan_launch(
        program, INFO, EngineOptions(arguments=("--stub-fail",)), n_ctx_tokens=512
    )
    process = EngineProcess(launch)
    with pytest.raises(EnvironmentFault, match="CUDA error: out of memory"):
        process.wait_until_ready(20)
    process.stop()


def test_program_that_is_not_there_is_reported():
    launch = llama_server.plan_launch("/nowhere", INFO, EngineOptions(), n_ctx_tokens=512)
    process = EngineProcess(launch)
    with pytest.raises(EnvironmentFault, match="cannot start /nowhere"):
        process.wait_until_ready(20)
    process.stop()


@pytest.mark.parametrize("way", ["stopped", "server killed", "parent gone"])
def test_nothing_is_left_of_a_server_with_processes_of_its_own(
    program: str, report: Path, way: str
):
    options = EngineOptions(arguments=("--stub-child",))
    launch = llama_server.plan_launch(program, INFO, options, n_ctx_tokens=512)
    with running(launch) as (process, _):
        told = json.loads(report.read_text())
        match way:
            case "stopped":
                process.stop()
            case "server killed":
                os.kill(told["pid"], signal.SIGKILL)
            case "parent gone":
                process._process.stdin.close()
        assert is_gone(told["pid"])
        assert is_gone(told["child"])


def test_server_packages_that_are_missing_are_named(python: EnginePython):
    bare = replace(python, versions={"llama-cpp-python": "0.3"})
    with pytest.raises(EnvironmentFault, match="without fastapi, uvicorn") as caught:
        llama_cpp_python.plan_launch(bare, INFO, EngineOptions(), n_ctx_tokens=512)
    assert "llama-cpp-python[server]" in (caught.value.hint or "")


def test_template_that_llama_cpp_python_cannot_take_is_refused(python: EnginePython):
    with pytest.raises(UsageError, match="takes no chat template"):
        llama_cpp_python.plan_launch(
            python, INFO, EngineOptions(chat_template="x"), n_ctx_tokens=512
        )


def test_engine_kind_names_what_the_command_line_takes():
    assert [str(kind) for kind in EngineKind] == ["auto", "llama.cpp", "transformers", "vllm"]


@pytest.mark.model
def test_serve_runs_the_llama_server_on_path_and_says_why(
    program: str, report: Path, starter_gguf: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PATH", f"{Path(program).parent}{os.pathsep}{os.environ['PATH']}")
    command = [sys.executable, "-m", "qtool", "serve", str(starter_gguf), "-v"]
    arguments = ["--engine-arg=--numa", "--gpu-layers", "0"]
    with subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as serving:
        url = serving.stdout.readline().split()[-1]
        told = json.loads(report.read_text())
        serving.terminate()
        _, said = serving.communicate(timeout=20)
    assert f"runs on llama.cpp: GGUF is llama.cpp's own format; {program}, for --engine-arg" in said
    given = options_of(told["argv"])
    assert url == f"http://127.0.0.1:{given['--port']}/v1"
    assert given["--n-gpu-layers"] == "0"
    assert told["argv"][-1] == "--numa"
    assert is_gone(told["pid"])
