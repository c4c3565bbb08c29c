"""What JSON says about quantization."""

from typing import Any

import pytest

from qtool.errors import IntegrityError
from qtool.models.fields import Fields
from qtool.models.info import ModelFormat, Quantization
from qtool.models.quantization import parse_quantization


@pytest.mark.parametrize(
    ("config", "model_format", "expected"),
    [
        (
            {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True, "desc_act": False}
            | {"checkpoint_format": "gptq_v2", "damp_percent": 0.1},
            ModelFormat.GPTQ,
            {"bits": 4, "group_size": 128, "is_symmetric": True, "is_act_order": False}
            | {"checkpoint_format": "gptq_v2"},
        ),
        (
            {"bits": 3, "group_size": -1, "desc_act": True, "sym": False},
            ModelFormat.GPTQ,
            {"bits": 3, "group_size": -1, "is_symmetric": False, "is_act_order": True},
        ),
        (
            {"quant_method": "gptq", "bits": 4, "is_marlin_format": True},
            ModelFormat.GPTQ,
            {"bits": 4, "checkpoint_format": "marlin"},
        ),
        (
            {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
            | {"version": "GEMM"},
            ModelFormat.AWQ,
            {"bits": 4, "group_size": 128, "zero_point": True, "is_symmetric": False}
            | {"version": "gemm"},
        ),
        (
            {"w_bit": 4, "q_group_size": 64, "zero_point": True, "version": "GEMV"},
            ModelFormat.AWQ,
            {"bits": 4, "group_size": 64, "zero_point": True, "is_symmetric": False}
            | {"version": "gemv"},
        ),
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False}
            | {"bnb_4bit_quant_type": "nf4"},
            ModelFormat.BITSANDBYTES,
            {"bits": 4, "checkpoint_format": "nf4"},
        ),
        ({"load_in_8bit": True}, ModelFormat.BITSANDBYTES, {"bits": 8}),
        (
            {
                "quant_method": "compressed-tensors",
                "format": "pack-quantized",
                "config_groups": {
                    "group_0": {
                        "weights": {
                            "num_bits": 4,
                            "group_size": 128,
                            "symmetric": True,
                            "actorder": "weight",
                        }
                    }
                },
            },
            ModelFormat.COMPRESSED_TENSORS,
            {"bits": 4, "group_size": 128, "is_symmetric": True, "is_act_order": True}
            | {"checkpoint_format": "pack-quantized"},
        ),
        (
            {"quant_method": "compressed-tensors", "config_groups": {"group_0": {}}},
            ModelFormat.COMPRESSED_TENSORS,
            {},
        ),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, ModelFormat.FP8, {"bits": 8}),
        ({"quant_method": "fbgemm_fp8"}, ModelFormat.FP8, {"bits": 8}),
        ({"quant_method": "mxfp4"}, ModelFormat.OTHER, {}),
        ({"quant_method": "HQQ", "bits": 4}, ModelFormat.OTHER, {"bits": 4}),
        ({}, ModelFormat.OTHER, {}),
    ],
)
def test_method_is_recognised(
    config: dict[str, Any], model_format: ModelFormat, expected: dict[str, Any]
) -> None:
    found_format, found = parse_quantization(Fields(config, "config.json"))
    assert found_format is model_format
    assert found == Quantization(found.method, "config.json", **expected)


def test_method_of_another_name_is_kept() -> None:
    assert parse_quantization(Fields({"quant_method": "HQQ"}, "x"))[1].method == "hqq"


def test_name_of_the_file_decides_when_its_content_does_not() -> None:
    found = parse_quantization(Fields({"bits": 4}, "quantize_config.json"), default_method="gptq")
    assert found[0] is ModelFormat.GPTQ


@pytest.mark.parametrize(
    "config",
    [
        {"quant_method": 7},
        {"quant_method": "gptq", "bits": 0},
        {"quant_method": "gptq", "bits": 65},
        {"quant_method": "gptq", "bits": "4"},
        {"quant_method": "gptq", "group_size": -2},
        {"quant_method": "gptq", "desc_act": "false"},
        {"quant_method": "awq", "version": 2},
        {"quant_method": "awq", "zero_point": 1},
        {"quant_method": "bitsandbytes", "load_in_4bit": "yes"},
        {"quant_method": "compressed-tensors", "config_groups": []},
        {"quant_method": "compressed-tensors", "config_groups": {"g": 1}},
        {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": 4}}},
    ],
)
def test_wrong_types_are_refused(config: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match=r"^config\.json"):
        parse_quantization(Fields(config, "config.json"))
