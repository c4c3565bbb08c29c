"""Environments of other days, for real: the oldest transformers, auto-gptq and autoawq on a CPU."""

import json
import subprocess
import venv
from pathlib import Path

import pytest

from qtool.engines.interpreters import EnginePython, find_python
from qtool.engines.transformers import PROGRAM
from qtool.errors import EnvironmentFault
from tests.conftest import TEST_CACHE, Run
from tests.engines.conftest import HERE, Server, run_script, start_engine
from tests.once import make_once

pytestmark = [pytest.mark.network, pytest.mark.environments, pytest.mark.timeout(1800)]

OLDEST = ("torch==2.13.0", "transformers==4.36.2", "accelerate==1.15.0", "numpy<2")
AUTO_GPTQ = (
    *("torch==2.13.0", "transformers==4.57.6", "optimum==1.27.0", "accelerate==1.15.0"),
    *("numpy==2.2.6", "datasets==3.6.0", "huggingface_hub==0.36.2", "peft==0.17.1"),
    *("rouge", "gekko", "sentencepiece"),
)
AUTOAWQ = (
    *("torch==2.13.0", "transformers==4.51.3", "accelerate==1.15.0", "numpy==2.2.6"),
    *("zstandard", "setuptools", "wheel"),
)


def environment(name: str, *steps: tuple[str, ...]) -> EnginePython:
    """Return an interpreter of an environment that is made once."""

    def make(folder: Path) -> None:
        venv.create(folder, with_pip=True, symlinks=True)
        for step in steps:
            pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
            subprocess.run([*pip, *step], check=True)

    return find_python(str(make_once(TEST_CACHE / name, make)), {})


def test_oldest_transformers_reads_and_cuts_the_same_model(run_qtool: Run, tiny_models: Path):
    python = environment("transformers-4.36", OLDEST)
    folder = tiny_models / "gptq-sym-64-dense"
    done = run_qtool(
        *("chat", str(folder), "--python", python.path, "--json", "-m", "6", "--temperature", "0"),
        input="one\ntwo\n",
    )
    assert done.returncode == 0, done.stderr
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert second["usage"]["cached_tokens"] >= first["usage"]["prompt_tokens"]


def test_oldest_transformers_computes_the_same_scores(
    tiny_models: Path, engine_python: EnginePython
):
    """A configuration that 5 wrote, with a rotary base that 4 looks for elsewhere."""
    oldest = environment("transformers-4.36", OLDEST)
    script, folder = str(HERE / "compare_logits.py"), str(tiny_models / "rope")
    new, old = (
        json.loads(run_script(python, script, str(PROGRAM), folder))["scores"]
        for python in (engine_python, oldest)
    )
    assert new == pytest.approx(old, abs=1e-3)


def test_oldest_transformers_has_the_same_cache():
    oldest = environment("transformers-4.36", OLDEST)
    found = json.loads(run_script(oldest, str(HERE / "check_kv_cache.py"), str(PROGRAM)))
    assert found["agrees"]
    assert found["moves"] < found["steps"] / 10


@pytest.mark.parametrize("name", ["gptq-sym-64", "gptq-asym-64", "gptq-act-order-64"])
def test_auto_gptq_computes_on_a_cpu(tiny_models: Path, name: str):
    python = environment("auto-gptq-cpu", AUTO_GPTQ, ("--no-deps", "auto-gptq==0.7.1"))
    script = str(HERE / "compare_logits.py")
    line = json.loads(run_script(python, script, str(PROGRAM), f"library:{tiny_models / name}"))
    assert line["error"] < 0.25
    assert line["keeps_cache"]


def test_auto_gptq_answers_on_a_cpu_and_keeps_the_cache(tiny_models: Path):
    python = environment("auto-gptq-cpu", AUTO_GPTQ, ("--no-deps", "auto-gptq==0.7.1"))
    process = start_engine(python, tiny_models / "gptq-sym-64", prefer_int4=False)
    try:
        endpoint = process.wait_until_ready(200)
        assert endpoint is not None
        server = Server(process, endpoint.url, endpoint.api_key)
        said = [("user", "one")]
        first = server.chat(said)
        reply = first["choices"][0]["message"]["content"]
        assert reply
        second = server.chat([*said, ("assistant", reply), ("user", "two")])
        assert second["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
    finally:
        process.stop()


def test_autoawq_is_refused_on_a_cpu_and_its_environment_answers_without_it(
    run_qtool: Run, tiny_models: Path
):
    python = environment(
        "autoawq-cpu", AUTOAWQ, ("--no-deps", "--no-build-isolation", "autoawq==0.2.9")
    )
    folder = tiny_models / "awq-64"
    process = start_engine(python, folder, prefer_int4=False)
    try:
        with pytest.raises(EnvironmentFault, match="autoawq computes on a GPU only; gptqmodel"):
            process.wait_until_ready(200)
    finally:
        process.stop()
    talk = ("chat", str(folder), "--python", python.path, "--engine", "transformers")
    done = run_qtool(*talk, "-p", "Hi", "-m", "3", "--json", "-v")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["usage"]["completion_tokens"] == 3
    asked = run_qtool("doctor", str(folder), "--python", python.path)
    assert "neither flash-attn nor autoawq is of use, nor needed here" in asked.stdout
