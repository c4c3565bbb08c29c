"""Verdicts: engine, device, memory and speed, against figures worked out by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qtool.doctor.case import make_case
from qtool.doctor.diagnosis import diagnose
from qtool.doctor.redact import redact
from qtool.doctor.report import report_lines, two_digits, verdict_lines
from qtool.doctor.snapshot import MIB
from qtool.doctor.snapshot_reader import from_mapping
from qtool.doctor.verdict import FormatVerdict, judge
from qtool.models.info import AttentionShape, ModelFormat, ModelInfo, Quantization
from tests.unit.doctor.machines import GPTQ_MODULES, RTX_3090, T4, machine, torch

GIB = 1024 * MIB
# Mistral-7B: 32 layers, 8 heads of 128 for keys and values, so 128 KiB a token in fp16.
ATTENTION = AttentionShape(n_layers=32, n_kv_heads=8, head_dim=128)
KV_BYTES_8192 = 2 * 32 * 8 * 128 * 2 * 8192
MODERN = {"torch": "2.10.0+cu128", "transformers": "5.5.0", "gptqmodel": "7.0.0",
          "optimum": "2.3.0"}  # fmt: skip
NEW_TORCH = torch("2.10.0+cu128", "12.8", ["sm_75", "sm_80", "sm_86"])
NO_GPU = {"gpus": [], "driver": None, "ram_bytes": 16 * GIB, "ram_available_bytes": 12 * GIB}


def model(form: ModelFormat, weights_bytes: int = 4 * GIB, group_size: int = 128) -> ModelInfo:
    return ModelInfo(
        path=Path("/m/model"),
        format=form,
        quantization=Quantization(form.value, "config.json", bits=4, group_size=group_size),
        weights_bytes=weights_bytes,
        context_length_tokens=32768,
        attention=ATTENTION,
    )


def verdict_on(info: ModelInfo, n_ctx_tokens: int | None = None, **fields: Any) -> FormatVerdict:
    snapshot = from_mapping(machine(**fields))
    return judge(make_case(snapshot, None, info, n_ctx_tokens))[info.format.value]


def test_memory_is_weights_and_cache_and_overhead() -> None:
    verdict = verdict_on(model(ModelFormat.GGUF), **NO_GPU)

    assert verdict.fit is not None
    assert verdict.fit.need.weights_bytes == 4 * GIB
    assert verdict.fit.need.kv_cache_bytes == KV_BYTES_8192 == GIB
    assert verdict.fit.available_bytes == 12 * GIB
    assert verdict.fit.fits is True
    assert (verdict.runs, verdict.engine, verdict.device) == (True, "llama.cpp", "cpu")


def test_the_longest_context_that_fits_is_told() -> None:
    fields = {**NO_GPU, "ram_available_bytes": 5 * GIB}

    verdict = verdict_on(model(ModelFormat.GGUF), 32768, **fields)

    assert verdict.fit is not None
    # 5 GiB / 1.075 - 4 GiB leave 0.651 GiB, at 128 KiB a token 5334 tokens.
    assert verdict.fit.n_ctx_max_tokens == pytest.approx(5334, abs=2)
    assert verdict.runs is False


def test_layers_that_do_not_fit_on_the_gpu_stay_in_ram() -> None:
    fields = {"gpus": [{**T4, "vram_mib": 4096}], "ram_bytes": 16 * GIB,
              "dists": {"llama-cpp-python": "0.3.36"},
              "ext_files": {"llama-cpp-python": ["llama_cpp/lib/libggml-cuda.so"]}}  # fmt: skip

    verdict = verdict_on(model(ModelFormat.GGUF), **fields)

    assert (verdict.runs, verdict.device) == (True, "cuda")
    assert verdict.fit is not None
    # (4 GiB - 0.5 GiB - 7.5 % of 5 GiB) / (5 GiB / 32 layers) = 20
    assert verdict.fit.n_gpu_layers == 20


@pytest.mark.parametrize(
    ("n_cores", "expected"),
    [
        (2, 2 * 4.5e9 / (4 * GIB)),  # two cores multiply more slowly than memory delivers
        (64, 50e9 * 0.6 / (4 * GIB)),
    ],
)
def test_speed_on_a_cpu_is_what_the_slower_of_cores_and_memory_allows(
    n_cores: int, expected: float
) -> None:
    fields = {**NO_GPU, "cpu": {"n_cores": n_cores}, "memory_bandwidth_bytes_per_s": 50e9}

    verdict = verdict_on(model(ModelFormat.GGUF), **fields)

    assert verdict.tokens_per_s_estimate == round(expected, 1)


def test_gptq_runs_on_gptqmodel_with_marlin_where_the_gpu_can() -> None:
    verdict = verdict_on(model(ModelFormat.GPTQ), dists=MODERN, torch=NEW_TORCH)

    assert (verdict.runs, verdict.engine, verdict.device) == (True, "transformers", "cuda")
    assert verdict.kernel == "marlin"
    # 936 GB/s * 0.4 / 4.29 GB
    assert verdict.tokens_per_s_estimate == pytest.approx(87, rel=0.01)


@pytest.mark.parametrize(
    ("group_size", "kernel"),
    [(128, "int4pack"), (256, "int4pack"), (40, "half precision (written out)")],
)
def test_gptq_on_a_cpu_is_fast_only_with_some_group_sizes(group_size: int, kernel: str) -> None:
    info = model(ModelFormat.GPTQ, group_size=group_size)

    verdict = verdict_on(info, dists=MODERN, torch=torch("2.10.0+cpu", None), **NO_GPU)

    assert (verdict.device, verdict.kernel) == ("cpu", kernel)


def test_a_gptq_model_that_does_not_fit_does_not_run() -> None:
    verdict = verdict_on(
        model(ModelFormat.GPTQ, 8 * GIB), dists=MODERN, torch=NEW_TORCH,
        gpus=[{**RTX_3090, "vram_mib": 8192}],
    )  # fmt: skip

    assert verdict.runs is False
    assert "does not fit" in verdict.why


def test_several_gpus_hold_a_model_together() -> None:
    gpus = [{**RTX_3090, "vram_mib": 8192}] * 2

    verdict = verdict_on(model(ModelFormat.GPTQ, 8 * GIB), dists=MODERN, torch=NEW_TORCH, gpus=gpus)

    assert verdict.runs is True


@pytest.mark.parametrize(
    ("modules", "version", "answer"),
    [
        (GPTQ_MODULES, "2.2.2", "has its CUDA kernels (autogptq_cuda_64"),
        (GPTQ_MODULES, "2.5.1", "but they do not load on torch 2.5.1"),
        ([], "2.2.2", "is installed without its CUDA kernels"),
        (None, "2.2.2", "is unknown"),
    ],
)
def test_the_question_of_the_cuda_kernels_is_answered(
    modules: list[str] | None, version: str, answer: str
) -> None:
    env = machine(dists={"auto-gptq": "0.7.1", "torch": version}, torch=torch(version),
                  ext_files={} if modules is None else {"auto-gptq": modules})  # fmt: skip

    verdict = judge(make_case(from_mapping(env)))["gptq"]

    assert answer in verdict.notes[0]


def test_no_speed_is_told_without_a_bandwidth() -> None:
    assert verdict_on(model(ModelFormat.GGUF), **NO_GPU).tokens_per_s_estimate is None


def test_without_torch_only_gguf_runs() -> None:
    verdict = judge(make_case(from_mapping(machine())))

    assert {name for name, one in verdict.items() if one.runs} == {"gguf"}


def test_a_format_without_an_engine_does_not_run() -> None:
    assert verdict_on(model(ModelFormat.OTHER), dists=MODERN, torch=NEW_TORCH).runs is False


def test_the_report_says_what_the_verdict_says() -> None:
    case = make_case(from_mapping(machine(**NO_GPU)), None, model(ModelFormat.GGUF))

    text = "\n".join(line.text for line in report_lines(case, (), judge(case)))

    assert "✓ runs: model, GGUF, 4 bit g128" in text
    assert "KV cache 1.07 GB at 8192 tokens" in text


def test_names_of_people_and_machines_are_taken_out() -> None:
    value = {
        "path": "/home/ada/x",
        "list": ["/home/bob/y", "ada@lovelace", "canada", r"C:\Users\Ada\z"],
    }

    found = redact(value, home="/home/ada", host="lovelace", user="ada")

    assert found == {
        "path": "~/x",
        "list": ["/home/<user>/y", "<user>@<host>", "canada", r"C:\Users\<user>\z"],
    }


def test_the_sum_of_the_memory_is_said_once() -> None:
    fields = {**NO_GPU, "ram_available_bytes": GIB}
    case = make_case(from_mapping(machine(**fields)), None, model(ModelFormat.GGUF))

    (finding,) = diagnose(case)

    assert finding.code == "RAM-INSUFFICIENT"
    text = "\n".join((finding.explanation, *finding.evidence))
    assert text.count("KV cache") == 1


def llama(form: ModelFormat, *, is_act_order: bool = False) -> ModelInfo:
    quantization = Quantization(
        form.value, "config.json", bits=4, group_size=128, is_act_order=is_act_order
    )
    return replace(model(form), quantization=quantization, architecture="LlamaForCausalLM")


@pytest.mark.parametrize("form", [ModelFormat.GPTQ, ModelFormat.AWQ])
def test_without_a_gpu_a_repack_is_named(form: ModelFormat) -> None:
    verdict = verdict_on(llama(form), **NO_GPU, llama_cpp="xllamacpp", dists=MODERN)

    assert (verdict.runs, verdict.engine, verdict.device) == (True, "llama.cpp", "cpu")
    assert "repack without loss" in verdict.why


def test_what_cannot_be_repacked_stays_with_transformers() -> None:
    info = llama(ModelFormat.GPTQ, is_act_order=True)

    verdict = verdict_on(info, **NO_GPU, llama_cpp="xllamacpp", dists=MODERN, torch=NEW_TORCH)

    assert verdict.engine == "transformers"


def test_no_library_is_missing_for_what_is_repacked() -> None:
    snapshot = from_mapping(machine(**NO_GPU, llama_cpp="xllamacpp", dists={}))

    def codes(info: ModelInfo) -> set[str]:
        return {one.code for one in diagnose(make_case(snapshot, None, info))}

    assert "ENGINE-MISSING" not in codes(llama(ModelFormat.GPTQ))
    assert "ENGINE-MISSING" in codes(llama(ModelFormat.GPTQ, is_act_order=True))


@pytest.mark.parametrize(
    ("dists", "engine"),
    [({"vllm": "0.30.0"}, "vllm"), ({"vllm": "0.30.0", **MODERN}, "transformers"), ({}, None)],
)
def test_vllm_runs_what_transformers_lacks_packages_for(
    dists: dict[str, str], engine: str | None
) -> None:
    dists = {"torch": "2.10.0", **dists}

    verdict = verdict_on(model(ModelFormat.GPTQ), dists=dists, torch=NEW_TORCH)

    assert (verdict.runs, verdict.engine) == (engine is not None, engine)


def test_without_a_gpu_vllm_is_of_no_use() -> None:
    dists = {"torch": "2.4.0", "vllm": "0.30.0"}

    verdict = verdict_on(model(ModelFormat.FP8), dists=dists, torch=NEW_TORCH, **NO_GPU)

    assert verdict.runs is False


@pytest.mark.parametrize(("rate", "shown"), [(76.9, "77"), (124.6, "120"), (0.31, "0.31")])
def test_an_estimate_has_two_digits(rate: float, shown: str) -> None:
    assert two_digits(rate) == shown


def test_the_weights_of_a_repacked_model_are_those_of_the_gguf() -> None:
    info = llama(ModelFormat.GPTQ)
    verdict = verdict_on(info, **NO_GPU, llama_cpp="xllamacpp", dists=MODERN)

    text = "\n".join(line.text for line in verdict_lines(info, "gptq", verdict))

    assert " once repacked, KV cache" in text
