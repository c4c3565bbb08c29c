"""The tutorial's models on ordinary machines, against figures worked out by hand.

Sizes, from the published shapes (7,248,023,552 weights, of which 6,979,321,856 in 7 * 32 matrices,
2 * 134,217,728 in embeddings and output, 266,240 in norms):

    GPTQ    codes        6979321856 / 2                   3489660928
            scales       6979321856 / 128 * 2              109051904
            zero points  6979321856 / 128 / 2               27262976
            g_idx        32 * (6 * 4096 + 14336) * 4         4980736
            the others   (2 * 134217728 + 266240) * 2      537403392   = 4168359936 bytes
    AWQ     the same without g_idx                                     = 4163379200 bytes
    Q4_K_M  Q6_K         (16 * (1024 + 14336) * 4096 + 134217728) * 210 / 256
            Q4_K         what is left of the matrices          * 144 / 256
            F32          266240 * 4                                    = 4372054016 bytes

KV cache: 32 layers * 2 * 8 heads * 128 * 2 bytes = 131072 bytes a token, 1 GiB for 8192 tokens,
4 GiB for 32768. Overhead: 7.5 % of weights and KV cache, and 0.5 GiB for a CUDA context.
"""

from dataclasses import replace
from typing import Any

import pytest

from qtool.doctor.case import Case, make_case
from qtool.doctor.diagnosis import diagnose
from qtool.doctor.fit import FitKind
from qtool.doctor.markdown import markdown_lines
from qtool.doctor.report import report_lines
from qtool.doctor.snapshot_reader import from_mapping
from qtool.doctor.verdict import FormatVerdict, judge
from qtool.models.formats import inspect_model
from qtool.models.info import ModelInfo
from tests.unit.doctor.machines import RTX_3090, machine, torch
from tests.unit.doctor.mistral import make_awq, make_gguf, make_gptq

GIB = 2**30
WEIGHTS = {"gptq": 4168359936, "awq": 4163379200, "gguf": 4372054016}
KV_8192, KV_32768, CUDA_CONTEXT = 1073741824, 4294967296, 536870912
# (weights + 1 GiB) * 0.075 + 0.5 GiB
OVERHEAD_8192 = {"gptq": 930028544, "awq": 929654989, "gguf": 945305600}
DISTS = {"torch": "2.10.0+cu128", "transformers": "5.5.0", "gptqmodel": "7.0.0",
         "optimum": "2.3.0", "llama-cpp-python": "0.3.36"}  # fmt: skip
GPUS = {
    4: {"name": "NVIDIA GeForce GTX 1650", "cc": "7.5", "vram_mib": 4096},
    5: {"name": "NVIDIA GeForce GTX 1660", "cc": "7.5", "vram_mib": 5120},  # no such card
    8: {"name": "NVIDIA GeForce RTX 4060", "cc": "8.9", "vram_mib": 8192},
    16: {"name": "NVIDIA GeForce RTX 4060 Ti", "cc": "8.9", "vram_mib": 16384},
    24: RTX_3090,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelInfo]:
    folder = tmp_path_factory.mktemp("mistral")
    made = {
        "gptq": make_gptq(folder / "Mistral-7B-Instruct-v0.3-GPTQ"),
        "act-order": make_gptq(folder / "Mistral-7B-act-order", is_act_order=True),
        "awq": make_awq(folder / "Mistral-7B-Instruct-v0.3-AWQ"),
        "gguf": make_gguf(folder / "Mistral-7B-Instruct-v0.3.Q4_K_M.gguf"),
    }
    return {name: inspect_model(path) for name, path in made.items()}


def on_gpus(info: ModelInfo, *gib: int, n_ctx_tokens: int | None = None, ram_gib: int = 32) -> Case:
    """The model on GPUs of so many GiB, with everything installed that it could need."""
    env = machine(
        gpus=[GPUS[one] for one in gib], driver="570.86", dists=DISTS,
        torch=torch("2.10.0+cu128", "12.8", ["sm_75", "sm_80", "sm_86"]), nvcc="12.8",
        ninja="1.11", compiler="g++", ram_bytes=ram_gib * GIB, ram_available_bytes=ram_gib * GIB,
        ext_files={"llama-cpp-python": ["llama_cpp/lib/libggml-cuda.so"]}, llama_cpp="xllamacpp",
    )  # fmt: skip
    return make_case(from_mapping(env), None, info, n_ctx_tokens)


def on_cpu(info: ModelInfo, ram_gib: int, n_ctx_tokens: int | None = None, **fields: Any) -> Case:
    """The model on a machine without a GPU, with nothing installed but qtool."""
    env = machine(gpus=[], driver=None, llama_cpp="xllamacpp", ram_bytes=64 * GIB,
                  ram_available_bytes=ram_gib * GIB, **fields)  # fmt: skip
    return make_case(from_mapping(env), None, info, n_ctx_tokens)


def verdict_on(case: Case) -> FormatVerdict:
    (verdict,) = judge(case).values()
    return verdict


@pytest.mark.parametrize("form", ["gptq", "awq", "gguf"])
def test_headers_tell_the_size_of_the_weights(models: dict[str, ModelInfo], form: str) -> None:
    assert models[form].weights_bytes == WEIGHTS[form]
    assert models[form].n_params == 7248023552


@pytest.mark.parametrize("gib", [8, 16, 24])
@pytest.mark.parametrize("form", ["gptq", "awq", "gguf"])
def test_it_fits_on_ordinary_gpus(models: dict[str, ModelInfo], form: str, gib: int) -> None:
    verdict = verdict_on(on_gpus(models[form], gib))

    assert (verdict.runs, verdict.device) == (True, "cuda")
    assert verdict.fit is not None
    need = verdict.fit.need
    assert need.weights_bytes == WEIGHTS[form]
    assert need.kv_cache_bytes == KV_8192
    assert need.overhead_bytes == OVERHEAD_8192[form]
    assert verdict.fit.available_bytes == gib * GIB
    assert verdict.fit.kind is FitKind.FITS


@pytest.mark.parametrize(
    ("form", "kernel", "dtype", "attention"),
    [("gptq", "marlin", "bfloat16", "sdpa"), ("awq", None, "bfloat16", "sdpa"),
     ("gguf", None, None, "llama.cpp")],
)  # fmt: skip
def test_kernel_float_type_and_attention_are_told(
    models: dict[str, ModelInfo], form: str, kernel: str | None, dtype: str | None, attention: str
) -> None:
    verdict = verdict_on(on_gpus(models[form], 24))

    assert (verdict.kernel, verdict.dtype, verdict.attention) == (kernel, dtype, attention)


# (8 GiB - 0.5 GiB) / 1.075 = 7491222028 bytes for weights and KV cache.
@pytest.mark.parametrize(
    ("form", "longest"),
    [
        ("gptq", (7491222028 - WEIGHTS["gptq"]) // 131072),  # 25351
        ("awq", (7491222028 - WEIGHTS["awq"]) // 131072),  # 25389
    ],
)
def test_a_long_context_does_not_fit_on_8_gb(
    models: dict[str, ModelInfo], form: str, longest: int
) -> None:
    verdict = verdict_on(on_gpus(models[form], 8, n_ctx_tokens=32768))

    assert verdict.runs is False
    assert verdict.fit is not None
    assert verdict.fit.need.kv_cache_bytes == KV_32768
    assert verdict.fit.kind is FitKind.WITH_CONTEXT
    assert verdict.fit.n_ctx_max_tokens == longest
    assert verdict.fit.n_gpu_layers is None  # that is llama.cpp's, not transformers'


def test_gguf_with_a_long_context_keeps_layers_in_ram(models: dict[str, ModelInfo]) -> None:
    verdict = verdict_on(on_gpus(models["gguf"], 8, n_ctx_tokens=32768))

    assert verdict.runs is True
    assert verdict.fit is not None
    assert verdict.fit.kind is FitKind.WITH_LAYERS
    # A layer: (4372054016 + 4294967296) / 32 = 270844416 bytes. Room beside the overhead:
    # 8 GiB - 0.5 GiB - 0.075 * 8667021312 = 7403037081, which is 27.3 layers.
    assert verdict.fit.n_gpu_layers == 27


def test_without_room_in_ram_no_layers_can_be_kept_there(models: dict[str, ModelInfo]) -> None:
    # 9853918823 bytes in all, 27 * 270844416 of them on the GPU: 2.5 GB are left over.
    verdict = verdict_on(on_gpus(models["gguf"], 8, n_ctx_tokens=32768, ram_gib=2))

    assert verdict.runs is False
    assert verdict.fit is not None
    assert verdict.fit.n_gpu_layers is None


@pytest.mark.parametrize("gib", [16, 24])
@pytest.mark.parametrize("form", ["gptq", "awq", "gguf"])
def test_the_longest_context_fits_on_larger_gpus(
    models: dict[str, ModelInfo], form: str, gib: int
) -> None:
    verdict = verdict_on(on_gpus(models[form], gib, n_ctx_tokens=32768))

    assert verdict.fit is not None
    assert (verdict.runs, verdict.fit.kind) == (True, FitKind.FITS)
    assert verdict.fit.n_ctx_max_tokens == 32768


def test_a_context_nobody_asked_for_is_shortened(models: dict[str, ModelInfo]) -> None:
    case = on_gpus(models["gptq"], 5)
    verdict = verdict_on(case)

    # (5 GiB - 0.5 GiB) / 1.075 = 4494733217, less the weights 326373281: 2490 tokens.
    assert verdict.runs is True
    assert verdict.fit is not None
    assert verdict.fit.n_ctx_max_tokens == 2490
    assert "at most 2490 tokens" in verdict.why
    (finding,) = (one for one in diagnose(case) if one.code == "VRAM-INSUFFICIENT")
    assert finding.severity == "warning"


def test_a_variant_with_fewer_bits_is_named(models: dict[str, ModelInfo]) -> None:
    verdict = verdict_on(on_gpus(models["gptq"], 5))

    assert verdict.fit is not None
    # (4494733217 - 1 GiB) * 8 / 7248023552: Q3_K_S has 3.5, Q3_K_M 3.91.
    assert verdict.fit.bits_that_fit == 3.78
    (cure,) = verdict.cures
    assert "Q3_K_S" in cure.title
    assert cure.commands[0] == "qtool find Mistral-7B-Instruct-v0.3 --format gguf"


def test_where_no_variant_fits_a_smaller_model_is_advised(models: dict[str, ModelInfo]) -> None:
    verdict = verdict_on(on_gpus(models["gptq"], 4))

    # (4 GiB - 0.5 GiB) / 1.075 = 3495903613 bytes are fewer than the weights have.
    assert verdict.runs is False
    assert verdict.fit is not None
    assert verdict.fit.kind is FitKind.DOES_NOT_FIT
    assert "smaller model" in verdict.cures[0].title


@pytest.mark.parametrize(
    ("form", "weights_bytes"),
    [
        # 4.5 bits a weight as Q4_0, 5 as Q4_1; embeddings in 16 bits, norms in 32.
        ("gptq", 6979321856 * 18 // 32 + 536870912 + 1064960),
        ("awq", 6979321856 * 20 // 32 + 536870912 + 1064960),
        ("gguf", WEIGHTS["gguf"]),
    ],
)
def test_on_a_cpu_all_of_them_run_through_llama_cpp(
    models: dict[str, ModelInfo], form: str, weights_bytes: int
) -> None:
    verdict = verdict_on(on_cpu(models[form], 12))

    assert (verdict.runs, verdict.engine, verdict.device) == (True, "llama.cpp", "cpu")
    assert verdict.fit is not None
    assert verdict.fit.need.weights_bytes == pytest.approx(weights_bytes, rel=0.002)
    assert verdict.fit.need.total_bytes == pytest.approx(
        (weights_bytes + KV_8192) * 1.075, rel=0.002
    )
    assert verdict.fit.kind is FitKind.FITS


def test_on_a_cpu_the_context_follows_the_ram(models: dict[str, ModelInfo]) -> None:
    verdict = verdict_on(on_cpu(models["gguf"], 5))

    # 5 GiB / 1.075 - 4372054016 = 622093965 bytes: 4746 tokens.
    assert verdict.runs is True
    assert verdict.fit is not None
    assert verdict.fit.n_ctx_max_tokens == 4746


@pytest.mark.parametrize("form", ["gptq", "awq", "gguf"])
def test_4_gb_of_ram_hold_none_of_them(models: dict[str, ModelInfo], form: str) -> None:
    case = on_cpu(models[form], 4)

    assert verdict_on(case).runs is False
    assert "RAM-INSUFFICIENT" in {one.code for one in diagnose(case) if one.severity == "error"}


@pytest.mark.parametrize("form", ["gptq", "awq"])
def test_nothing_is_wrong_where_it_runs_without_torch(
    models: dict[str, ModelInfo], form: str
) -> None:
    assert diagnose(on_cpu(models[form], 12)) == ()


def test_what_cannot_be_repacked_needs_an_environment(models: dict[str, ModelInfo]) -> None:
    verdict = verdict_on(on_cpu(models["act-order"], 12))

    assert verdict.runs is False
    assert verdict.cures[0].commands == (
        "qtool env create transformers",
        f"qtool chat {models['act-order'].path} --env transformers",
    )


def test_several_gpus_are_told_one_by_one(models: dict[str, ModelInfo]) -> None:
    case = on_gpus(models["gptq"], 4, 24)
    verdict = verdict_on(case)

    assert [row.fit.kind for row in verdict.gpus] == [FitKind.DOES_NOT_FIT, FitKind.FITS]
    lines = [line.text for line in report_lines(case, (), judge(case))]
    table = [line for line in lines if line.startswith("  GPU ")]
    assert " ".join(table[0].split()) == (
        "GPU 0 NVIDIA GeForce GTX 1650 4.29 GB alone: does not fit"
    )
    assert "alone: fits" in table[1]
    assert "tokens/s" in table[1]
    assert table[0].index("alone") == table[1].index("alone")


def test_each_of_several_gpus_has_a_cuda_context(models: dict[str, ModelInfo]) -> None:
    verdict = verdict_on(on_gpus(models["gptq"], 8, 8, n_ctx_tokens=32768))

    assert verdict.runs is True
    assert verdict.fit is not None
    # (4168359936 + 4 GiB) * 0.075 = 634749543, and twice 0.5 GiB.
    assert verdict.fit.need.overhead_bytes == 634749543 + 2 * CUDA_CONTEXT
    assert verdict.fit.available_bytes == 16 * GIB


def test_one_gpu_does_where_one_is_enough(models: dict[str, ModelInfo]) -> None:
    verdict = verdict_on(on_gpus(models["gptq"], 8, 24))

    assert verdict.fit is not None
    assert verdict.fit.available_bytes == 24 * GIB
    assert verdict.fit.need.overhead_bytes == OVERHEAD_8192["gptq"]


def test_act_order_runs_with_torch_and_transformers_alone(models: dict[str, ModelInfo]) -> None:
    fields = {"dists": {"torch": "2.13.0+cpu", "transformers": "5.5.0"},
              "torch": torch("2.13.0+cpu", None)}  # fmt: skip

    case = on_cpu(models["act-order"], 12, **fields)
    verdict = verdict_on(case)

    assert (verdict.runs, verdict.engine, verdict.kernel) == (True, "transformers", "int4pack")
    assert diagnose(case) == ()


def test_what_is_written_out_takes_two_bytes_a_weight(models: dict[str, ModelInfo]) -> None:
    quantization = models["act-order"].quantization
    assert quantization is not None
    odd = replace(models["act-order"], quantization=replace(quantization, group_size=40))
    fields = {"dists": {"torch": "2.13.0+cpu", "transformers": "5.5.0"},
              "torch": torch("2.13.0+cpu", None)}  # fmt: skip

    verdict = verdict_on(on_cpu(odd, 64, **fields))

    assert verdict.fit is not None
    assert verdict.fit.need.weights_bytes == 2 * 7248023552


def test_markdown_tells_memory_and_gpus_as_well(models: dict[str, ModelInfo]) -> None:
    case = on_gpus(models["gptq"], 4, 24)

    text = "\n".join(markdown_lines(case, (), judge(case)))

    assert "**GPTQ** ✅ runs: " in text
    assert "memory: 6.17 GB of 25.8 GB" in text
    assert "GPU 1  NVIDIA GeForce RTX 3090" in text
