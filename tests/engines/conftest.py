"""An environment with torch and transformers, tiny models made in it, and servers that run them."""

import contextlib
import http.client
import json
import subprocess
import tempfile
import venv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from qtool.engines.base import EngineOptions
from qtool.engines.interpreters import EnginePython, find_python
from qtool.engines.process import EngineProcess
from qtool.engines.transformers import plan_launch
from qtool.models.formats import inspect_model
from tests.conftest import TEST_CACHE
from tests.once import make_once

HERE = Path(__file__).parent
REQUIREMENTS = (
    *("torch==2.13.0", "transformers==5.23.0", "accelerate", "safetensors", "gguf"),
    *("optimum==2.3.0", "gptqmodel==7.6.0"),
)
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def _make_environment(folder: Path) -> None:
    venv.create(folder, with_pip=True, symlinks=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, *REQUIREMENTS], check=True)


@pytest.fixture(scope="session")
def engine_python() -> EnginePython:
    """Return the interpreter of the tests' environment."""
    folder = make_once(TEST_CACHE / "transformers-5", _make_environment)
    return find_python(str(folder), {})


def run_script(python: EnginePython, *arguments: str) -> str:
    """Run a program of this folder in the environment; return what it printed."""
    done = subprocess.run(
        [python.path, "-I", *arguments],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def run_beside(python: EnginePython, script: str, *arguments: str, **environ: str) -> str:
    """Run a program of this folder that imports its neighbours; return what it printed."""
    command = [python.path, "-s", str(HERE / script), *arguments]
    own = {**ENVIRONMENT, **environ}
    done = subprocess.run(command, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="session")
def tiny_models(engine_python: EnginePython) -> Path:
    """Return the folder of the models that ``make_models`` makes."""
    script = str(HERE / "make_models.py")
    return make_once(
        TEST_CACHE / "tiny-models", lambda folder: run_script(engine_python, script, str(folder))
    )


@pytest.fixture(scope="session")
def real_models(engine_python: EnginePython, starter_gguf: Path) -> Path:
    """Return the folder of ``smollm``, the starter model unpacked, and ``smollm-gptq``."""
    script = str(HERE / "make_models.py")
    return make_once(
        TEST_CACHE / "real-models",
        lambda folder: run_script(engine_python, script, str(folder), str(starter_gguf)),
    )


@dataclass
class Server:
    """A running server, asked without the program's own client."""

    process: EngineProcess
    url: str
    key: str = field(repr=False)

    def ask(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Return status and answer."""
        with contextlib.closing(self.open(path, body)) as connection:
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    def open(self, path: str, body: dict[str, Any] | None = None) -> http.client.HTTPConnection:
        """Send a request, and leave the answer to be read."""
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=60)
        data = None if body is None else json.dumps(body)
        headers = {"Authorization": f"Bearer {self.key}"}
        connection.request("GET" if data is None else "POST", path, data, headers)
        return connection

    def chat(self, messages: Sequence[tuple[str, str]], **fields: Any) -> dict[str, Any]:
        """Return the reply to (role, content) pairs, greedily drawn unless asked otherwise."""
        body = {"messages": [{"role": r, "content": c} for r, c in messages], **GREEDY, **fields}
        status, answer = self.ask("/v1/chat/completions", body)
        assert status == 200, answer
        return answer

    def stream(self, prompt: str, **fields: Any) -> Iterator[dict[str, Any]]:
        """Yield the chunks of a completion."""
        body = {"prompt": prompt, "stream": True, **GREEDY, **fields}
        with contextlib.closing(self.open("/v1/completions", body)) as connection:
            for line in connection.getresponse():
                if line.startswith(b"data: {"):
                    yield json.loads(line[6:])

    def complete(self, prompt: "str | list[int]", **fields: Any) -> dict[str, Any]:
        """Return the completion of a text."""
        status, answer = self.ask("/v1/completions", {"prompt": prompt, **GREEDY, **fields})
        assert status == 200, answer
        return answer


GREEDY = {"temperature": 0, "max_tokens": 12}

Serve = Callable[..., Server]


@pytest.fixture(scope="module")
def serve(engine_python: EnginePython) -> Iterator[Serve]:
    """Return a function that serves a model folder until the module's tests are over."""
    running: dict[str, Server] = {}

    def start(folder: Path, **settings: Any) -> Server:
        name = repr((folder, sorted(settings.items())))
        if name not in running:
            process = start_engine(engine_python, folder, **settings)
            endpoint = process.wait_until_ready(100)
            assert endpoint is not None
            running[name] = Server(process, endpoint.url, endpoint.api_key)
        return running[name]

    yield start
    for server in running.values():
        server.process.stop()


def start_engine(python: EnginePython, folder: Path, **settings: Any) -> EngineProcess:
    """Start the engine as ``qtool chat`` does, with further settings."""
    plan = plan_launch(inspect_model(folder), EngineOptions(n_threads=1), python)
    plan = replace(plan, settings={**plan.settings, **settings})
    return EngineProcess(plan, log=tempfile.TemporaryFile())
