from dataclasses import replace
from pathlib import Path

import pytest

from qtool.engines.start_failure import explain_failure, explain_memory
from qtool.errors import EnvironmentFault, ResourceError
from qtool.models.info import AttentionShape, ModelFormat, ModelInfo

GIB = 2**30
INFO = ModelInfo(
    path=Path("/models/m.gguf"),
    format=ModelFormat.GGUF,
    weights_bytes=4 * GIB,
    context_length_tokens=32768,
    attention=AttentionShape(n_layers=32, n_kv_heads=8, head_dim=128),
)


def fault(message: str) -> EnvironmentFault:
    return EnvironmentFault(message, hint="qtool doctor /models/m.gguf")


@pytest.mark.parametrize(
    "message",
    [
        "llama.cpp: failed to allocate buffer of size 5368709120",
        "the engine cannot load the model: OutOfMemoryError: CUDA out of memory",
        "ended with code 1: std::bad_alloc",
        "the llama.cpp engine was killed by signal 9 before it was ready",
        "DefaultCPUAllocator: can't allocate memory",
    ],
)
def test_memory_that_ran_out_is_told_with_figures(message: str):
    told = explain_failure(fault(message), INFO, 8192, None)
    assert isinstance(told, ResourceError)
    end = ", as when memory runs out" if "signal 9" in message else ": memory ran out"
    assert told.message.startswith(f"{message}{end}\n")
    assert "weights 4.29 GB, 5.77 GB in all with a context of 8192 tokens" in told.message
    assert "can be had now" in told.message


def test_context_that_would_fit_is_the_hint():
    told = explain_memory(fault("out of memory"), INFO, 32768, 8 * GIB)
    assert told.hint is not None
    fitting = int(told.hint.split()[1])
    assert 512 <= fitting < 32768
    again = explain_memory(fault("out of memory"), INFO, fitting, 8 * GIB)
    assert again.hint == "qtool doctor /models/m.gguf", "it should fit: no cure is known"


def test_model_of_which_nothing_fits_leads_to_the_doctor():
    told = explain_memory(fault("out of memory"), INFO, 8192, GIB)
    assert told.hint == "qtool doctor /models/m.gguf says which variants would fit"


def test_log_of_the_engine_comes_after_the_figures():
    told = explain_memory(fault("it ended\n  line 1\n  bad_alloc"), INFO, 8192, GIB)
    first, second, *rest = told.message.splitlines()
    assert first == "it ended: memory ran out"
    assert "weights" in second
    assert rest == ["  line 1", "  bad_alloc"]


def test_other_failures_of_our_own_engine_stay_as_they_are():
    one = fault("the llama.cpp engine ended with code 1: unknown architecture")
    assert explain_failure(one, INFO, 8192, None) is one


def make_environment(folder: Path, **versions: str) -> Path:
    """Return an environment with the metadata of distributions, and an interpreter."""
    site = folder / "lib" / "python3.11" / "site-packages"
    site.mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to("/usr/bin/env")
    (folder / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.11.9\n")
    for name, version in versions.items():
        info = site / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return folder


def test_environment_that_cannot_work_is_told_in_the_doctors_words(tmp_path: Path):
    folder = make_environment(
        tmp_path / "env", torch="2.6.0", transformers="4.57.6", autoawq="0.2.9"
    )
    info = replace(INFO, path=tmp_path, format=ModelFormat.AWQ, architecture="LlamaForCausalLM")
    failed = fault("the transformers engine cannot load the model: ImportError: PytorchGELUTanh")
    told = explain_failure(failed, info, 8192, str(folder / "bin" / "python"))
    assert told.message.startswith(failed.message)
    assert "\n  doctor: " in told.message
    assert told.hint != failed.hint
    assert "install" in (told.hint or "") or "qtool env" in (told.hint or "")
