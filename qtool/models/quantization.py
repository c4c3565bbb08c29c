"""How a checkpoint was quantized, from its JSON.

Sources of the keys: transformers' ``quantization_config`` (src/transformers/utils/
quantization_config.py), ``quantize_config.json`` of AutoGPTQ and GPTQModel, ``quant_config.json``
of AutoAWQ's predecessor llm-awq, ``config_groups`` of compressed-tensors.
"""

from qtool.models.fields import Fields
from qtool.models.info import ModelFormat, Quantization

# A number of bits or a group size beyond these is damage.
_MAX_BITS = 64
_MAX_GROUP_SIZE = 2**20

_FORMATS = {
    "gptq": ModelFormat.GPTQ,
    "awq": ModelFormat.AWQ,
    "bitsandbytes": ModelFormat.BITSANDBYTES,
    "compressed-tensors": ModelFormat.COMPRESSED_TENSORS,
    "fp8": ModelFormat.FP8,
    "fbgemm_fp8": ModelFormat.FP8,
}


def parse_quantization(
    fields: Fields, *, default_method: str | None = None
) -> tuple[ModelFormat, Quantization]:
    """Parse a ``quantization_config`` object, or a file that holds nothing else.

    ``default_method`` is what the name of the file implies when its content does not say.

    Raises:
        IntegrityError: a value of the wrong type or out of range.
    """
    method = fields.text("quant_method") or default_method or _implied_method(fields)
    method = method.lower().replace("_", "-") if "tensors" in method else method.lower()
    model_format = _FORMATS.get(method, ModelFormat.OTHER)
    match model_format:
        case ModelFormat.GPTQ:
            quantization = _gptq(fields)
        case ModelFormat.AWQ:
            quantization = _awq(fields)
        case ModelFormat.BITSANDBYTES:
            quantization = _bitsandbytes(fields)
        case ModelFormat.COMPRESSED_TENSORS:
            quantization = _compressed_tensors(fields)
        case ModelFormat.FP8:
            quantization = Quantization(method, fields.source, bits=8)
        case _:
            quantization = Quantization(method, fields.source, bits=_bits(fields))
    return model_format, quantization


def _implied_method(fields: Fields) -> str:
    """The method of a configuration that does not name it, by what only that one has."""
    if fields.has_any(("load_in_4bit", "load_in_8bit")):
        return "bitsandbytes"
    if fields.has_any(("desc_act", "damp_percent")):
        return "gptq"
    if fields.has_any(("zero_point", "w_bit", "q_group_size")):
        return "awq"
    return "unknown"


def _bits(fields: Fields, *keys: str) -> int | None:
    return fields.integer(*(keys or ("bits",)), minimum=1, maximum=_MAX_BITS)


def _group_size(fields: Fields, *keys: str) -> int | None:
    return fields.integer(*(keys or ("group_size",)), minimum=-1, maximum=_MAX_GROUP_SIZE)


def _gptq(fields: Fields) -> Quantization:
    is_marlin = fields.boolean("is_marlin_format")
    return Quantization(
        "gptq",
        fields.source,
        bits=_bits(fields),
        group_size=_group_size(fields),
        is_symmetric=fields.boolean("sym"),
        is_act_order=fields.boolean("desc_act"),
        checkpoint_format="marlin" if is_marlin else fields.text("checkpoint_format", "format"),
    )


def _awq(fields: Fields) -> Quantization:
    has_zero_point = fields.boolean("zero_point")
    version = fields.text("version", "format", "checkpoint_format")
    return Quantization(
        "awq",
        fields.source,
        bits=_bits(fields, "bits", "w_bit"),
        group_size=_group_size(fields, "group_size", "q_group_size"),
        is_symmetric=None if has_zero_point is None else not has_zero_point,
        zero_point=has_zero_point,
        version=version.lower() if version else None,
    )


def _bitsandbytes(fields: Fields) -> Quantization:
    is_4bit = fields.boolean("load_in_4bit", "_load_in_4bit")
    is_8bit = fields.boolean("load_in_8bit", "_load_in_8bit")
    return Quantization(
        "bitsandbytes",
        fields.source,
        bits=4 if is_4bit else 8 if is_8bit else None,
        checkpoint_format=fields.text("bnb_4bit_quant_type") if is_4bit else None,
    )


def _compressed_tensors(fields: Fields) -> Quantization:
    """Groups of layers may differ; the first group with weights speaks for all."""
    layout = fields.text("format")
    groups = fields.section("config_groups")
    for name in groups.data if groups else ():
        group = groups.section(name) if groups else None
        weights = group.section("weights") if group else None
        if weights is None:
            continue
        act_order = weights.data.get("actorder")  # "group", "weight", true; or nothing
        return Quantization(
            "compressed-tensors",
            fields.source,
            bits=_bits(weights, "num_bits"),
            group_size=_group_size(weights),
            is_symmetric=weights.boolean("symmetric"),
            is_act_order=bool(act_order),
            checkpoint_format=layout,
        )
    return Quantization("compressed-tensors", fields.source, checkpoint_format=layout)
