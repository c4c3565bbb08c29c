from dataclasses import replace
from pathlib import Path

import pytest

from qtool.engines.base import EngineKind, EngineOptions
from qtool.engines.cache_types import CacheType, bytes_per_element
from qtool.engines.gpu_layers import estimate_gpu_layers
from qtool.engines.interpreters import EnginePython
from qtool.engines.llama_program import LlamaPrograms, choose_program, plan_program
from qtool.engines.select import select_engine
from qtool.errors import EnvironmentFault, UsageError
from qtool.models.info import AttentionShape, ModelFormat, ModelInfo
from qtool.models.llama_choice import LlamaKind
from qtool.models.memory import estimate_memory

GIB = 2**30
PYTHON = EnginePython("/env/bin/python", "--python names it", {"llama-cpp-python": "0.3.36"})
WHEEL, SERVER = LlamaPrograms(True), LlamaPrograms(False, server="/usr/bin/llama-server")
BOTH = LlamaPrograms(True, server="/usr/bin/llama-server")
INFO = ModelInfo(
    path=Path("/models/m.gguf"),
    format=ModelFormat.GGUF,
    weights_bytes=4 * GIB,
    context_length_tokens=32768,
    attention=AttentionShape(n_layers=32, n_kv_heads=8, head_dim=128),
    files=(Path("/models/m.gguf"),),
)
USUAL = {"is_python_named": False, "has_gpu": False, "has_arguments": False}


@pytest.mark.parametrize(
    ("programs", "said", "kind", "word"),
    [
        (WHEEL, {}, LlamaKind.WHEEL, "wheel"),
        (BOTH, {}, LlamaKind.WHEEL, "wheel"),
        (BOTH, {"has_gpu": True}, LlamaKind.SERVER, "GPU"),
        (WHEEL, {"has_gpu": True}, LlamaKind.WHEEL, "wheel"),
        (BOTH, {"has_arguments": True}, LlamaKind.SERVER, "--engine-arg"),
        (SERVER, {}, LlamaKind.SERVER, "PATH"),
        (replace(BOTH, python=PYTHON), {"is_python_named": True}, LlamaKind.PYTHON, "0.3.36"),
        (replace(WHEEL, python=PYTHON), {}, LlamaKind.WHEEL, "wheel"),
        (LlamaPrograms(False, python=PYTHON), {}, LlamaKind.PYTHON, "/env/bin/python"),
        (
            replace(WHEEL, python=replace(PYTHON, versions={})),
            {"is_python_named": True},
            LlamaKind.WHEEL,
            "wheel",
        ),
    ],
)
def test_program_is_chosen_and_the_choice_says_why(
    programs: LlamaPrograms, said: dict, kind: LlamaKind, word: str
):
    choice = choose_program(programs, **{**USUAL, **said})
    assert choice.kind is kind
    assert word in choice.why


def test_gpu_that_is_left_unused_is_said_to_everybody():
    assert not choose_program(WHEEL, **USUAL).warnings
    [warning] = choose_program(WHEEL, **{**USUAL, "has_gpu": True}).warnings
    assert "qtool env create gguf" in warning
    assert not choose_program(BOTH, **{**USUAL, "has_gpu": True}).warnings


def test_without_any_llama_cpp_all_ways_are_named():
    with pytest.raises(EnvironmentFault, match=r"xllamacpp.*llama-server.*llama-cpp-python"):
        choose_program(LlamaPrograms(False), **USUAL)


def test_wheel_refuses_arguments_that_it_cannot_pass_on():
    choice = choose_program(WHEEL, **{**USUAL, "has_arguments": True})
    with pytest.raises(UsageError, match="no command line"):
        plan_program(choice, WHEEL, INFO, EngineOptions(arguments=("--numa",)))


def test_layers_are_put_on_the_gpu_as_memory_allows_unless_asked():
    choice = choose_program(BOTH, **{**USUAL, "has_gpu": True})

    def layers(vram_bytes: int, asked: int | None = None) -> str:
        options = EngineOptions(n_gpu_layers=asked)
        launch = plan_program(choice, BOTH, INFO, options, vram_bytes=vram_bytes)
        command = launch.settings["command"]
        return command[command.index("--n-gpu-layers") + 1]

    assert layers(24 * GIB) == "33"
    assert 0 < int(layers(3 * GIB)) < 32
    assert layers(GIB // 4) == "0"
    assert layers(24 * GIB, 7) == "7"


@pytest.mark.parametrize("vram_gib", [1, 2, 3, 4, 5, 6, 8])
def test_estimated_layers_fit(vram_gib: int):
    n_layers = estimate_gpu_layers(INFO, vram_gib * GIB, n_ctx_tokens=8192)
    assert n_layers is not None
    need = estimate_memory(INFO, n_ctx_tokens=8192, is_cuda=True)
    share = min(n_layers, 32) / 32 * (need.weights_bytes + need.kv_cache_bytes)
    assert n_layers == 0 or share + need.overhead_bytes <= vram_gib * GIB


def test_layers_of_an_unknown_shape_are_left_to_llama_cpp():
    assert estimate_gpu_layers(replace(INFO, attention=None), GIB, n_ctx_tokens=512) is None


def test_smaller_cache_type_leaves_room_for_a_longer_context():
    free = int(6.4 * GIB)

    def context(cache_type: str | None) -> int:
        options = EngineOptions(cache_type=cache_type)
        choice = choose_program(WHEEL, **USUAL)
        plan = plan_program(choice, WHEEL, INFO, options, free_memory_bytes=free)
        return plan.settings["n_ctx_tokens"]

    assert context("q8_0") > context(None)


def test_cache_types_are_those_of_ggml():
    gguf = pytest.importorskip("gguf")
    for kind in CacheType:
        assert gguf.GGMLQuantizationType[kind.upper()] == kind.ggml_number
        n_block, n_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind.upper()]]
        assert kind.bytes_per_element == n_bytes / n_block
    assert bytes_per_element(None) == 2


VLLM = EnginePython("/env/bin/python", "active", {"vllm": "0.30", "torch": "2.9"})
AWQ = replace(INFO, format=ModelFormat.AWQ)


def test_vllm_is_taken_when_asked_for_or_when_nothing_else_loads_the_model_on_a_gpu():
    asked = select_engine(AWQ, EngineKind.VLLM, VLLM)
    assert (asked.kind, "asked for" in asked.why) == (EngineKind.VLLM, True)
    found = select_engine(AWQ, EngineKind.AUTO, VLLM, has_gpu=True)
    assert found.kind is EngineKind.VLLM
    assert "transformers would need" in found.why
    with pytest.raises(EnvironmentFault):
        select_engine(AWQ, EngineKind.TRANSFORMERS, VLLM, has_gpu=True)


def test_vllm_that_is_not_there_is_said_with_the_way_to_get_it():
    with pytest.raises(EnvironmentFault, match="no vLLM in /env/bin/python") as caught:
        select_engine(AWQ, EngineKind.VLLM, PYTHON)
    assert "qtool env create vllm" in (caught.value.hint or "")


@pytest.mark.parametrize("kind", [EngineKind.VLLM, EngineKind.TRANSFORMERS])
def test_gguf_goes_to_llama_cpp_alone(kind: EngineKind):
    with pytest.raises(UsageError, match="GGUF"):
        select_engine(INFO, kind, VLLM)
