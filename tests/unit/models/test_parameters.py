"""Logical weights of packed checkpoints, by hand."""

import pytest

from qtool.models.parameters import count_parameters
from qtool.models.safetensors import SafetensorsTensor, read_safetensors_header
from tests.unit.models.build import safetensors_of

Tensors = dict[str, tuple[str, list[int]]]


def parse(tensors: Tensors) -> tuple[SafetensorsTensor, ...]:
    import io

    return read_safetensors_header(io.BytesIO(safetensors_of(tensors))).tensors


def gptq_linear(name: str, k: int, n: int, *, bits: int, group_size: int) -> Tensors:
    """A matrix of ``k`` inputs and ``n`` outputs, as AutoGPTQ and GPTQModel store it."""
    n_groups = k // group_size
    return {
        f"{name}.qweight": ("I32", [k * bits // 32, n]),
        f"{name}.qzeros": ("I32", [n_groups, n * bits // 32]),
        f"{name}.scales": ("F16", [n_groups, n]),
        f"{name}.g_idx": ("I32", [k]),
    }


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_gptq_is_counted_unpacked_and_without_its_scales(bits: int) -> None:
    tensors = {
        **gptq_linear("q_proj", 256, 96, bits=bits, group_size=128),
        "q_proj.bias": ("F16", [96]),
        "embed.weight": ("F16", [10, 256]),
    }
    assert count_parameters(parse(tensors), bits) == 256 * 96 + 96 + 10 * 256


def test_awq_is_counted_unpacked() -> None:
    tensors: Tensors = {
        "q_proj.qweight": ("I32", [256, 96 // 8]),
        "q_proj.qzeros": ("I32", [2, 96 // 8]),
        "q_proj.scales": ("F16", [2, 96]),
    }
    assert count_parameters(parse(tensors), 4) == 256 * 96


def test_bitsandbytes_of_4_bits_is_counted_unpacked() -> None:
    tensors: Tensors = {
        "q.weight": ("U8", [256 * 96 // 2, 1]),
        "q.weight.absmax": ("U8", [384]),
        "q.weight.nested_absmax": ("F32", [2]),
        "q.weight.nested_quant_map": ("F32", [256]),
        "q.weight.quant_map": ("F32", [16]),
        "q.weight.quant_state.bitsandbytes__nf4": ("U8", [90]),
        "norm.weight": ("BF16", [256]),
    }
    assert count_parameters(parse(tensors), 4) == 256 * 96 + 256


def test_bitsandbytes_of_8_bits_is_counted_as_it_is() -> None:
    tensors: Tensors = {
        "q.weight": ("I8", [96, 256]),
        "q.SCB": ("F32", [96]),
        "q.weight_format": ("U8", []),
    }
    assert count_parameters(parse(tensors), 8) == 256 * 96


def test_compressed_tensors_are_counted_unpacked() -> None:
    tensors: Tensors = {
        "q.weight_packed": ("I32", [96, 32]),
        "q.weight_scale": ("BF16", [96, 2]),
        "q.weight_zero_point": ("I32", [12, 2]),
        "q.weight_shape": ("I64", [2]),
        "q.weight_g_idx": ("I32", [256]),
    }
    assert count_parameters(parse(tensors), 4) == 96 * 256


def test_fp8_is_counted_without_its_scales() -> None:
    tensors: Tensors = {
        "q.weight": ("F8_E4M3", [256, 128]),
        "q.weight_scale_inv": ("F32", [2, 1]),
        "q.input_scale": ("F32", []),
        "norm.weight": ("BF16", [128]),
    }
    assert count_parameters(parse(tensors), 8) == 256 * 128 + 128


def test_mxfp4_blocks_are_counted_unpacked() -> None:
    tensors: Tensors = {
        "experts.down_proj_blocks": ("U8", [2, 8, 4, 16]),
        "experts.down_proj_scales": ("U8", [2, 8, 4]),
        "experts.down_proj_bias": ("BF16", [2, 8]),
    }
    assert count_parameters(parse(tensors), None) == 2 * 8 * 4 * 32 + 2 * 8


def test_names_alone_do_not_hide_a_weight() -> None:
    tensors: Tensors = {"layer.scales": ("F16", [8]), "x_scales": ("F16", [4])}
    assert count_parameters(parse(tensors), 4) == 12
