from dataclasses import replace
from pathlib import Path

import pytest

from qtool.engines import transformers
from qtool.engines.base import EngineKind, EngineOptions
from qtool.engines.context import choose_context
from qtool.engines.interpreters import EnginePython, find_python
from qtool.engines.select import missing_packages, select_engine
from qtool.engines.transformers import PROGRAM, plan_launch
from qtool.errors import EnvironmentFault, IntegrityError, NotFoundError, UsageError
from qtool.models.info import AttentionShape, ModelFormat, ModelInfo

GIB = 2**30
MODERN = {"torch": "2.13.0", "transformers": "5.23.0", "gptqmodel": "7.6.0", "optimum": "2.3.0"}
PYTHON = EnginePython("/env/bin/python", "--python", MODERN)


def plain(**changes: object) -> ModelInfo:
    """Return a model of 1 GiB whose KV cache takes 128 KiB a token (2 x 32 x 8 x 128 x 2 B)."""
    values = {
        "path": Path("/models/m"),
        "format": ModelFormat.PLAIN,
        "weights_bytes": GIB,
        "context_length_tokens": 32768,
        "attention": AttentionShape(n_layers=32, n_kv_heads=8, head_dim=128),
        "files": (Path("/models/m/model.safetensors"),),
    }
    return ModelInfo(**{**values, **changes})


def test_program_runs_isolated_in_the_interpreter():
    launch = plan_launch(plain(), EngineOptions(), PYTHON)
    assert launch.kind is EngineKind.TRANSFORMERS
    assert launch.argv == ("/env/bin/python", "-I", str(PROGRAM))
    assert (PROGRAM / "__main__.py").is_file()


def test_packages_of_the_users_own_folder_are_not_isolated_away():
    launch = plan_launch(plain(), EngineOptions(), replace(PYTHON, is_isolated=False))
    assert "-I" not in launch.argv


def test_each_launch_has_a_long_key_of_its_own():
    one, two = (plan_launch(plain(), EngineOptions(), PYTHON) for _ in range(2))
    assert one.settings["api_key"] != two.settings["api_key"]
    assert len(one.settings["api_key"]) >= 32
    assert one.settings["api_key"] not in " ".join(one.argv)


def test_nothing_of_the_model_is_trusted_unless_asked():
    settings = plan_launch(plain(), EngineOptions(), PYTHON).settings
    assert (settings["trust_remote_code"], settings["allow_pickle"]) == (False, False)
    asked = EngineOptions(is_code_trusted=True, is_pickle_trusted=True)
    settings = plan_launch(plain(), asked, PYTHON).settings
    assert (settings["trust_remote_code"], settings["allow_pickle"]) == (True, True)


def test_pickled_weights_are_refused_before_anything_starts():
    info = plain(files=(Path("/models/m/pytorch_model.bin"),))
    with pytest.raises(UsageError, match=r"pytorch_model.bin is a pickle") as caught:
        plan_launch(info, EngineOptions(), PYTHON)
    assert "--trust-pickle" in (caught.value.hint or "")


def test_model_with_missing_files_is_refused():
    with pytest.raises(IntegrityError, match="m-00002"):
        plan_launch(plain(missing_files=("m-00002.safetensors",)), EngineOptions(), PYTHON)


def test_memory_is_reckoned_without_a_sliding_window(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(transformers, "has_nvidia_gpu", lambda environ: False)
    shape = AttentionShape(32, 8, 128, sliding_window=128, n_sliding_layers=32)
    info, free = plain(attention=shape), int(2.2 * GIB)
    launch = plan_launch(info, EngineOptions(), PYTHON, free_memory_bytes=free)
    assert launch.settings["n_ctx_tokens"] == choose_context(plain(), None, free)
    assert launch.settings["n_ctx_tokens"] < choose_context(info, None, free)


def test_no_gpu_layers_means_the_processor():
    launch = plan_launch(plain(), EngineOptions(n_gpu_layers=0), PYTHON)
    assert launch.settings["device"] == "cpu"


@pytest.mark.parametrize("model_format", [ModelFormat.GPTQ, ModelFormat.AWQ, ModelFormat.PLAIN])
def test_folders_go_to_transformers_and_the_choice_says_why(model_format: ModelFormat):
    choice = select_engine(plain(format=model_format), python=PYTHON)
    assert choice.kind is EngineKind.TRANSFORMERS
    assert "transformers 5.23.0 in /env/bin/python (--python)" in choice.why


@pytest.mark.parametrize(
    ("model_format", "versions", "missing"),
    [
        (ModelFormat.PLAIN, {}, ("torch", "transformers")),
        (
            ModelFormat.PLAIN,
            {"torch": "2", "transformers": "4.35.2"},
            ("transformers 4.36 or newer",),
        ),
        (ModelFormat.PLAIN, {"torch": "2", "transformers": "4.36.0"}, ()),
        (
            ModelFormat.GPTQ,
            {"torch": "2", "transformers": "4.57.6"},
            ("gptqmodel or auto-gptq", "optimum"),
        ),
        (
            ModelFormat.GPTQ,
            {"torch": "2", "transformers": "4.57.6", "auto-gptq": "0.7.1", "optimum": "1"},
            (),
        ),
        (ModelFormat.AWQ, {"torch": "2", "transformers": "5.0"}, ("gptqmodel or autoawq",)),
    ],
)
def test_packages_that_are_missing_are_named(
    model_format: ModelFormat, versions: dict[str, str], missing: tuple[str, ...]
):
    info = plain(format=model_format)
    assert missing_packages(info, versions, has_gpu=True) == missing
    if missing:
        with pytest.raises(EnvironmentFault, match=missing[-1]) as caught:
            select_engine(info, python=replace(PYTHON, versions=versions), has_gpu=True)
        _, lack = caught.value.message.splitlines()
        assert lack == f"  missing in /env/bin/python, {PYTHON.why}: {', '.join(missing)}"


def test_what_runs_nowhere_is_said_in_lines_the_cause_before_the_lack() -> None:
    info, bare = plain(format=ModelFormat.GPTQ), replace(PYTHON, versions={})
    with pytest.raises(EnvironmentFault) as caught:
        select_engine(info, python=bare, has_gpu=False, refusal="llama.cpp cannot hold it")
    head, refusal, lack = caught.value.message.splitlines()
    assert head.endswith(" is in the format GPTQ, and nothing runs it here")
    assert refusal == "  llama.cpp cannot hold it"
    assert lack.endswith(": torch, transformers")  # torch alone computes with the codes


@pytest.mark.parametrize("model_format", [ModelFormat.GPTQ, ModelFormat.AWQ])
@pytest.mark.parametrize(
    ("torch", "has_gpu", "is_enough"),
    [
        ("2.6.0", False, True),
        ("2.13.0+cpu", False, True),
        ("2.5.1", False, False),
        ("2.6.0", True, False),
    ],
)
def test_on_a_processor_torch_alone_runs_packed_weights(
    model_format: ModelFormat, torch: str, has_gpu: bool, is_enough: bool
):
    info, versions = plain(format=model_format), {"torch": torch, "transformers": "4.57.6"}
    assert (missing_packages(info, versions, has_gpu=has_gpu) == ()) is is_enough
    if is_enough:
        choice = select_engine(info, python=replace(PYTHON, versions=versions), has_gpu=has_gpu)
        assert f"torch {torch} computes with their codes" in choice.why


def test_engine_that_does_not_run_the_format_is_refused():
    with pytest.raises(UsageError, match="GGUF alone"):
        select_engine(plain(), EngineKind.LLAMA_CPP, PYTHON)
    with pytest.raises(UsageError, match="transformers would unpack"):
        select_engine(plain(format=ModelFormat.GGUF), EngineKind.TRANSFORMERS)


def make_environment(folder: Path, *distributions: str) -> Path:
    """Make what looks like a virtual environment from outside; its python answers nothing."""
    site = folder / "lib" / "python3.11" / "site-packages"
    site.mkdir(parents=True)
    for name in distributions:
        (site / f"{name}.dist-info").mkdir()
    (folder / "pyvenv.cfg").touch()
    python = folder / "bin" / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    return folder


def test_environment_is_known_by_its_folders_alone(tmp_path: Path):
    folder = make_environment(tmp_path / "e", "torch-2.13.0+cpu", "auto_gptq-0.7.1")
    python = find_python(str(folder), {})
    assert python.path == str(folder / "bin" / "python")
    assert python.versions == {"torch": "2.13.0+cpu", "auto-gptq": "0.7.1"}
    assert python.is_isolated


def test_packages_on_pythonpath_are_seen_and_kept(tmp_path: Path):
    folder = make_environment(tmp_path / "e")
    extra = make_environment(tmp_path / "x", "torch-2.0") / "lib" / "python3.11" / "site-packages"
    python = find_python(str(folder), {"PYTHONPATH": str(extra)})
    assert python.versions == {"torch": "2.0"}
    assert not python.is_isolated


def test_active_environment_is_found(tmp_path: Path):
    folder = make_environment(tmp_path / "e", "torch-2.0")
    python = find_python(None, {"VIRTUAL_ENV": str(folder)})
    assert python.path == str(folder / "bin" / "python")
    assert "VIRTUAL_ENV" in python.why


def test_what_is_no_interpreter_is_an_error(tmp_path: Path):
    with pytest.raises(NotFoundError):
        find_python(str(tmp_path), {})


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (EngineOptions(n_gpu_layers=12), "--gpu-layers 12"),
        (EngineOptions(cache_type="q8_0"), "--cache-type q8_0"),
        (EngineOptions(n_tensor_parallel=2), "--tensor-parallel-size"),
        (EngineOptions(arguments=("--x",)), "--engine-arg"),
    ],
)
def test_options_that_transformers_does_not_have_are_refused(options: EngineOptions, word: str):
    with pytest.raises(UsageError, match=word):
        plan_launch(plain(), options, PYTHON)
