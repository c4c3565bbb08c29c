"""``qtool doctor org/name``: a model on the loopback hub, before any of it is fetched."""

import json
import os
from pathlib import Path

import pytest

from qtool.envs.probes import tiny_gguf
from tests.cli.test_doctor import environment
from tests.conftest import Run
from tests.hub import Repo
from tests.unit.engines.repack.checkpoints import Model

__all__ = ["environment"]

REST = bytes(3_000_000)


@pytest.fixture
def hub(tmp_path: Path, hub_factory, monkeypatch: pytest.MonkeyPatch):
    """Return a hub with a GPTQ model of two shards and a GGUF, and nothing of them here."""
    folder = Model().write(tmp_path / "made")
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    gguf = tmp_path / "tiny.gguf"
    tiny_gguf.write(str(gguf))
    made = hub_factory(
        [
            Repo("org/tiny-gptq", files),
            Repo("org/tiny-GGUF", {"tiny-Q4_0.gguf": gguf.read_bytes(), "README.md": b"x"}),
            Repo("org/long-GGUF", {"long-Q8_0.gguf": gguf.read_bytes() + REST}),
            Repo("org/no-model", {"README.md": b"x"}),
        ]
    )
    monkeypatch.setenv("HF_ENDPOINT", made.url)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.chdir(tmp_path)
    return made


@pytest.fixture
def doctor(run_qtool: Run, environment, hub):
    python = str(environment())
    return lambda *words: run_qtool("doctor", *words, "--python", python, "--json", env=os.environ)


@pytest.mark.parametrize(
    ("name", "form"), [("org/tiny-gptq", "gptq"), ("org/tiny-GGUF:Q4_0", "gguf")]
)
def test_a_model_on_a_hub_gets_the_verdict_of_one_that_is_here(
    doctor, tmp_path: Path, name: str, form: str
) -> None:
    remote = doctor(name)
    here = doctor(str(tmp_path / ("made" if form == "gptq" else "tiny.gguf")))

    assert remote.returncode == here.returncode == 0, remote.stderr
    found, own = (json.loads(done.stdout)["verdict"][form] for done in (remote, here))
    assert (found["runs"], found["engine"]) == (own["runs"], own["engine"]) == (True, "llama.cpp")
    assert found["memory"]["weights_bytes"] == own["memory"]["weights_bytes"]
    assert found["memory"]["kv_cache_bytes"] == own["memory"]["kv_cache_bytes"]


def test_of_the_weights_the_header_alone_is_read(doctor, hub) -> None:
    assert doctor("org/long-GGUF").returncode == 0

    ranges = [one.headers.get("range") for one in hub.requests if "long-Q8_0.gguf" in one.target]
    assert ranges
    assert all(text for text in ranges)
    ends = [int(text.rpartition("-")[2]) for text in ranges if text]
    assert max(ends) < len(REST)


def test_nothing_of_it_stays_here(doctor, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    doctor("org/tiny-GGUF")
    assert sorted(tmp_path.iterdir()) == before


def test_what_no_hub_has_is_not_found(doctor) -> None:
    assert doctor("org/nothing").returncode == 3
    assert doctor("org/no-model").returncode == 3


def test_where_no_hub_answers_it_is_not_here(doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    done = doctor("org/tiny-gptq")
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["hint"]) == (3, "qtool download org/tiny-gptq")
    assert error["message"].startswith("org/tiny-gptq is not on this machine, and no hub tells")
