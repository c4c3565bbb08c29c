from pathlib import Path

import pytest

from qtool.engines import llama_cpp
from qtool.engines.base import EngineKind, EngineOptions
from qtool.engines.context import choose_context
from qtool.engines.llama_cpp import plan_launch
from qtool.engines.llama_cpp_server import build_params
from qtool.engines.select import select_engine
from qtool.errors import EnvironmentFault, IntegrityError, ResourceError, UsageError
from qtool.models.info import AttentionShape, ModelFormat, ModelInfo
from qtool.models.memory import DEFAULT_CONTEXT_TOKENS

GIB = 2**30


def gguf(context: int | None = 32768, **changes: object) -> ModelInfo:
    """Return a model of 1 GiB whose KV cache takes 128 KiB a token (2 x 32 x 8 x 128 x 2 B)."""
    values = {
        "path": Path("/models/m.gguf"),
        "format": ModelFormat.GGUF,
        "weights_bytes": GIB,
        "context_length_tokens": context,
        "attention": AttentionShape(n_layers=32, n_kv_heads=8, head_dim=128),
        "files": (Path("/models/m.gguf"),),
    }
    return ModelInfo(**{**values, **changes})


def test_default_context_is_the_models_up_to_a_bound():
    assert choose_context(gguf(2048), None, None) == 2048
    assert choose_context(gguf(131072), None, None) == DEFAULT_CONTEXT_TOKENS
    assert choose_context(gguf(None), None, None) == DEFAULT_CONTEXT_TOKENS


def test_context_asked_for_is_taken_up_to_what_the_model_was_made_for():
    assert choose_context(gguf(32768), 32768, None) == 32768
    with pytest.raises(UsageError, match="32768") as caught:
        choose_context(gguf(32768), 32769, None)
    assert caught.value.hint == "--ctx 32768"


def test_default_context_shrinks_to_what_fits():
    context = choose_context(gguf(), None, int(2.2 * GIB))
    assert 512 <= context < DEFAULT_CONTEXT_TOKENS


def test_context_asked_for_that_does_not_fit_is_refused_with_one_that_does():
    with pytest.raises(ResourceError, match="GB") as caught:
        choose_context(gguf(), 32768, 4 * GIB)
    assert caught.value.hint is not None
    fitting = int(caught.value.hint.split()[-1])
    assert choose_context(gguf(), fitting, 4 * GIB) == fitting


def test_model_larger_than_the_memory_is_refused():
    with pytest.raises(ResourceError) as caught:
        choose_context(gguf(weights_bytes=8 * GIB), None, 4 * GIB)
    assert caught.value.hint == "qtool doctor /models/m.gguf"


def test_each_launch_has_a_long_key_of_its_own():
    one, two = plan_launch(gguf(), EngineOptions()), plan_launch(gguf(), EngineOptions())
    assert one.settings["api_key"] != two.settings["api_key"]
    assert len(one.settings["api_key"]) >= 32
    assert one.settings["api_key"] not in " ".join(one.argv)


def test_missing_wheel_is_an_environment_fault(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(llama_cpp, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match="xllamacpp") as caught:
        plan_launch(gguf(), EngineOptions())
    assert "pip install xllamacpp" in (caught.value.hint or "")


def test_model_with_missing_files_is_refused():
    with pytest.raises(IntegrityError, match="m-00002"):
        plan_launch(gguf(missing_files=("m-00002-of-00002.gguf",)), EngineOptions())


def test_gguf_goes_to_llama_cpp_and_the_choice_says_why():
    choice = select_engine(gguf())
    assert choice.kind is EngineKind.LLAMA_CPP
    assert "GGUF" in choice.why


@pytest.mark.parametrize(
    ("model_format", "words"),
    [
        (ModelFormat.GPTQ, "is in the format GPTQ"),
        (ModelFormat.AWQ, "is in the format AWQ"),
        (ModelFormat.PLAIN, "is an unquantized model"),
    ],
)
def test_other_formats_without_an_environment_are_refused_by_name(
    model_format: ModelFormat, words: str
):
    with pytest.raises(EnvironmentFault, match=words):
        select_engine(gguf(format=model_format))


def test_model_whose_cache_is_not_known_gets_the_usual_context() -> None:
    assert choose_context(gguf(4096, attention=None), None, 8 * GIB) == 4096
    with pytest.raises(ResourceError):
        choose_context(gguf(4096, attention=None, weights_bytes=9 * GIB), None, 8 * GIB)


@pytest.mark.parametrize(
    ("weights_bytes", "is_copied"),
    [(GIB // 2, True), (GIB // 2 + 1, False), (0, False)],  # 0: their size is not known
)
def test_small_weights_are_copied_into_large_pages(
    monkeypatch: pytest.MonkeyPatch, weights_bytes: int, is_copied: bool
):
    variables = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
    monkeypatch.setattr(llama_cpp, "huge_page_variables", lambda environ: variables)
    launch = plan_launch(gguf(weights_bytes=weights_bytes), EngineOptions())
    assert (launch.variables == variables) == is_copied
    xllamacpp = pytest.importorskip("xllamacpp")
    is_unmapped = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE
    assert (build_params(dict(launch.settings)).load_mode == is_unmapped) == is_copied
