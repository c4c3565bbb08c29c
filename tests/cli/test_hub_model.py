"""Models named by their repository, for chat, serve and doctor: found here, or fetched."""

import io
import json
import re
import struct
from pathlib import Path

import pytest

from qtool.cli.hub_model import locate_here, obtain_from_hub
from qtool.config import Config
from qtool.errors import NotFoundError, UsageError
from qtool.models.gguf import MAGIC
from qtool.models.local import LocalModel
from qtool.output import Mode, Output
from tests.conftest import Run
from tests.hub.fixtures import HubFactory
from tests.hub.hub import LoopbackHub
from tests.hub.repository import Repo

GGUF = MAGIC + struct.pack("<IQQ", 3, 0, 0) + bytes(2000)
FILES = {
    "README.md": b"#",
    **{f"model-{quant}.gguf": GGUF for quant in ("Q4_K_M", "Q8_0")},
    **{f"big-Q2_K-0000{part}-of-00002.gguf": GGUF for part in (1, 2)},
}


@pytest.fixture
def hub(hub_factory: HubFactory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LoopbackHub:
    checkpoint = {"config.json": b"{}", "model.safetensors": b"w" * 100, "tokenizer.json": b"{}"}
    hub = hub_factory([Repo("org/quants", FILES), Repo("org/plain", checkpoint)])
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.chdir(tmp_path)
    return hub


def obtain(text: str, said: io.StringIO | None = None) -> LocalModel:
    output = Output(Mode.TEXT, stdout=io.StringIO(), stderr=said or io.StringIO(), environ={})
    return obtain_from_hub(text, output, Config(), is_agreed=False)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("org/quants:q8_0", "model-Q8_0.gguf"),
        ("org/quants", "model-Q4_K_M.gguf"),
        ("org/quants/model-Q8_0.gguf", "model-Q8_0.gguf"),
        ("org/quants/*Q4_K*.gguf", "model-Q4_K_M.gguf"),
        ("org/quants/big*.gguf", "big-Q2_K-00001-of-00002.gguf"),
    ],
)
def test_model_is_fetched_once_and_found_without_the_hub_afterwards(
    hub: LoopbackHub, own_settings: Path, monkeypatch: pytest.MonkeyPatch, text: str, name: str
):
    said = io.StringIO()
    model = obtain(text, said)
    assert model.path.name == name
    assert model.path.read_bytes() == GGUF
    assert model.path.is_relative_to(own_settings / "hf" / "hub")
    assert re.search(r"fetching org/quants \([24]\.\d+ kB\) to ", said.getvalue())
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    again = obtain(text)
    assert (again.path / name if again.path.is_dir() else again.path) == model.path
    assert list(Path.cwd().iterdir()) == [], "nothing is left where the conversation is held"


def test_checkpoint_is_a_folder_of_the_cache(hub: LoopbackHub):
    model = obtain("org/plain")
    assert sorted(file.name for file in model.path.iterdir()) == [
        "config.json", "model.safetensors", "tokenizer.json",
    ]  # fmt: skip
    assert locate_here("org/plain", Config()).path == model.path


def test_place_that_hf_hub_cache_names_is_used(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    assert obtain("org/quants:Q8_0").path.is_relative_to(tmp_path / "elsewhere")


def test_pattern_of_several_models_is_refused_before_anything_is_fetched(
    hub: LoopbackHub, own_settings: Path
):
    with pytest.raises(UsageError, match="several models") as caught:
        obtain("org/quants/model*.gguf")
    assert "org/quants:Q" in (caught.value.hint or "")
    assert not list((own_settings / "hf").rglob("*.gguf"))


def test_other_quantization_than_the_one_that_is_here_is_fetched(hub: LoopbackHub):
    obtain("org/quants:Q4_K_M")
    assert obtain("org/quants:Q8_0").path.name == "model-Q8_0.gguf"


def test_shards_that_a_stopped_download_left_out_are_fetched(hub: LoopbackHub):
    first = obtain("org/quants/big*.gguf").path
    second = first.with_name("big-Q2_K-00002-of-00002.gguf")
    second.unlink()
    assert obtain("org/quants/big*.gguf").path == first
    assert second.read_bytes() == GGUF


def test_file_that_is_here_goes_before_one_of_the_hub(hub: LoopbackHub, tmp_path: Path):
    place = tmp_path / "org" / "quants" / "model-Q8_0.gguf"
    place.parent.mkdir(parents=True)
    place.write_bytes(GGUF)
    assert obtain("org/quants/model-Q8_0.gguf").path == Path("org/quants/model-Q8_0.gguf")


def test_folder_of_a_download_is_used_and_named(hub: LoopbackHub, run_qtool: Run, tmp_path: Path):
    assert run_qtool("download", "org/quants:Q8_0", cwd=tmp_path).returncode == 0
    said = io.StringIO()
    assert obtain("org/quants", said).path == Path("quants")
    assert obtain(f"{hub.url}/org/quants/blob/main/model-Q8_0.gguf", said).path == Path(
        "quants/model-Q8_0.gguf"
    )
    assert said.getvalue() == "using ./quants\nusing ./quants/model-Q8_0.gguf\n"
    other = obtain(f"{hub.url}/org/quants/blob/main/model-Q4_K_M.gguf").path
    assert other.name == "model-Q4_K_M.gguf"
    assert other.is_absolute()


@pytest.mark.parametrize("text", ["org/none", "org/quants:Q9_Z", "org/quants/none.gguf"])
def test_what_the_hub_does_not_have_is_not_found(hub: LoopbackHub, text: str):
    with pytest.raises(NotFoundError):
        obtain(text)


@pytest.mark.parametrize("text", ["org/quants", "org/quants:Q8_0", "org/quants/model-Q8_0.gguf"])
def test_offline_what_is_not_here_is_not_asked_for(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, text: str
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(NotFoundError) as caught:
        obtain(text)
    assert "qtool download" in (caught.value.hint or "")


@pytest.mark.model
def test_chat_and_doctor_take_a_name_of_the_hub(
    run_qtool: Run, hub_factory: HubFactory, starter_gguf: Path, monkeypatch: pytest.MonkeyPatch
):
    hub = hub_factory([Repo("org/smol-GGUF", {"smol-Q4_1.gguf": starter_gguf})])
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    talk = ("chat", "org/smol-GGUF:Q4_1", "--ctx", "512", "-p", "Hi", "-m", "2", "--json")
    done = run_qtool(*talk)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["usage"]["completion_tokens"] == 2
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert run_qtool(*talk).returncode == 0
    examined = json.loads(run_qtool("doctor", "org/smol-GGUF", "--json").stdout)
    assert "gguf" in examined["verdict"]


class _Asked(Output):
    """A terminal at which a user answers."""

    is_interactive = True
    answer = "Q8_0"

    def ask_text(self, question: str) -> str:
        return self.answer


@pytest.mark.parametrize(
    ("others", "quant"), [((), "Q8_0"), (("config.json", "model.safetensors"), None)]
)
def test_folder_of_several_quantizations_is_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: tuple[str, ...], quant: str | None
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").mkdir()
    for name in ("m-Q4_0.gguf", "m-Q8_0.gguf", *others):
        (tmp_path / "m" / name).write_bytes(GGUF)
    output = _Asked(Mode.TEXT, stdout=io.StringIO(), stderr=io.StringIO(), environ={})
    model = obtain_from_hub("./m", output, Config(), is_agreed=False)
    assert model == LocalModel(Path("m"), quant)
