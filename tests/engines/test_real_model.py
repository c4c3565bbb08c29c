"""The real starter model, in bfloat16 and packed as GPTQ, through ``qtool chat``."""

import json
import time
from pathlib import Path

import pytest

from qtool.engines.interpreters import EnginePython
from tests.conftest import Run
from tests.engines.conftest import Serve

pytestmark = [
    *(pytest.mark.model, pytest.mark.network, pytest.mark.slow, pytest.mark.timeout(900)),
]
QUESTION = "What is the capital of France?\nAnd of Italy?\n"


@pytest.mark.parametrize("name", ["smollm", "smollm-gptq"])
def test_model_answers_and_reads_only_what_is_new(
    run_qtool: Run, engine_python: EnginePython, real_models: Path, name: str
):
    done = run_qtool(
        *("chat", str(real_models / name), "--python", engine_python.path, "--json"),
        *("-m", "30", "--temperature", "0"),
        input=QUESTION,
    )
    assert done.returncode == 0, done.stderr
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert "Paris" in first["reply"]
    assert "Rome" in second["reply"]
    assert second["usage"]["prompt_tokens"] - second["usage"]["cached_tokens"] < 20


def test_reply_that_nobody_waits_for_ends_within_a_token(serve: Serve, real_models: Path):
    """A token takes 20 to 100 ms here, the whole reply over a minute."""
    server = serve(real_models / "smollm")
    for is_streaming in (True, False):
        body = {"prompt": "Once", "max_tokens": 3000, "ignore_eos": True, "stream": is_streaming}
        connection = server.open("/v1/completions", body)
        if is_streaming:
            connection.getresponse().read(100)
        else:
            time.sleep(0.5)
        connection.close()
        started_at = time.monotonic()
        server.complete("Hello", max_tokens=1)
        assert time.monotonic() - started_at < 3
