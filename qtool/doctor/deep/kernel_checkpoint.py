"""A checkpoint of random weights, GPTQ or AWQ, and what its layers are in fp32.

Part of ``kernel_child.py``: runs in the examined Python and needs torch and safetensors there,
nothing of qtool's.
"""

from __future__ import annotations

import importlib
import json
from typing import Any

AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""Which of eight neighbouring columns is in nibble i of an AWQ word."""
HEAD_DIM = 64
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 128,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
}


def shapes_of(settings: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Return (inputs, outputs) of the linear layers by name, enough layers for the budget."""
    hidden, inner = settings["hidden"], settings["intermediate"]
    block = {f"self_attn.{name}_proj": (hidden, hidden) for name in "qkvo"}
    block.update({f"mlp.{name}_proj": (hidden, inner) for name in ("gate", "up")})
    block["mlp.down_proj"] = (inner, hidden)
    n_bytes = sum(packed_bytes(*s, settings["bits"], settings["group"]) for s in block.values())
    n_layers = min(8, max(1, settings["budget_bytes"] // n_bytes))
    return {
        f"model.layers.{i}.{name}": shape for i in range(n_layers) for name, shape in block.items()
    }


def write_checkpoint(
    torch: Any, method: str, settings: dict[str, Any], shapes: dict[str, tuple[int, int]]
) -> dict[str, Any]:
    """Write a model of random weights here; return the fp32 weights (K, N) of two layers."""
    kept, tensors = {}, {}
    for name, (n_inputs, n_outputs) in shapes.items():
        made = MAKERS[method](torch, n_inputs, n_outputs, settings)
        if name.startswith("model.layers.0.") and name.endswith(("q_proj", "down_proj")):
            kept[name] = made.pop("weight")(torch)
        made.pop("weight", None)
        tensors.update({f"{name}.{key}": tensor for key, tensor in made.items()})
    n_layers = 1 + max(int(name.split(".")[2]) for name in shapes)
    tensors.update(other_tensors(torch, settings["hidden"], n_layers))
    save_file = importlib.import_module("safetensors.torch").save_file
    save_file(tensors, "model.safetensors", metadata={"format": "pt"})
    quantization = {"quant_method": method, "bits": settings["bits"]}
    quantization.update(group_size=settings["group"], desc_act=settings["act_order"], sym=True)
    own = {"checkpoint_format": "gptq"} if method == "gptq" else {"version": "gemm"}
    quantization.update(own, zero_point=method == "awq")
    config = {**CONFIG, "hidden_size": settings["hidden"], "num_hidden_layers": n_layers}
    config.update(intermediate_size=settings["intermediate"], quantization_config=quantization)
    config["num_attention_heads"] = config["num_key_value_heads"] = settings["hidden"] // HEAD_DIM
    with open("config.json", "w") as file:  # noqa: PTH123
        json.dump(config, file)
    return kept


def other_tensors(torch: Any, hidden: int, n_layers: int) -> dict[str, Any]:
    """Return what is not quantized: embeddings, head and norms."""
    names = ["model.norm"]
    for layer in range(n_layers):
        prefix = f"model.layers.{layer}."
        names += [prefix + "input_layernorm", prefix + "post_attention_layernorm"]
    found = {f"{name}.weight": torch.ones(hidden).half() for name in names}
    for name in ("model.embed_tokens", "lm_head"):
        found[f"{name}.weight"] = (0.02 * torch.randn(128, hidden)).half()
    return found


def make_gptq(
    torch: Any, n_inputs: int, n_outputs: int, settings: dict[str, Any]
) -> dict[str, Any]:
    """Return a layer in GPTQ's layout, symmetric; zero points are stored less one."""
    bits, group = settings["bits"], settings["group"]
    qweight = random_words(torch, n_inputs * bits // 32, n_outputs)
    scales = random_scales(torch, n_inputs // group, n_outputs)
    zero = (1 << (bits - 1)) - 1
    word = sum(zero << (bits * i) for i in range(32 // bits))
    groups = torch.arange(n_inputs) // group
    if settings["act_order"]:
        groups = groups[torch.randperm(n_inputs)]

    def weight(torch: Any) -> Any:
        codes = torch.stack(fields(qweight, bits), 1).reshape(n_inputs, n_outputs)
        return (codes - (zero + 1)).float() * scales.float()[groups]

    qzeros = torch.full((n_inputs // group, n_outputs * bits // 32), word, dtype=torch.int32)
    return {"qweight": qweight, "qzeros": qzeros, "scales": scales,
            "g_idx": groups.to(torch.int32), "weight": weight}  # fmt: skip


def make_awq(torch: Any, n_inputs: int, n_outputs: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Return a layer in AWQ's layout, with all zero points in the middle."""
    group = settings["group"]
    qweight = random_words(torch, n_inputs, n_outputs // 8)
    scales = random_scales(torch, n_inputs // group, n_outputs)
    qzeros = torch.full((n_inputs // group, n_outputs // 8), -0x77777778, dtype=torch.int32)

    def weight(torch: Any) -> Any:
        codes = torch.empty(n_inputs, n_outputs // 8, 8, dtype=torch.int32)
        nibbles = fields(qweight, 4)
        for index, column in enumerate(AWQ_ORDER):
            codes[:, :, column] = nibbles[index]
        weights = (codes.reshape(n_inputs, n_outputs) - 8).float()
        return weights * scales.float().repeat_interleave(group, 0)

    return {"qweight": qweight, "qzeros": qzeros, "scales": scales, "weight": weight}


def fields(words: Any, bits: int) -> list[Any]:
    """Return the codes that int32 words hold, lowest first."""
    return [(words >> (bits * i)) & ((1 << bits) - 1) for i in range(32 // bits)]


def random_words(torch: Any, n_rows: int, n_columns: int) -> Any:
    """Return words of random bits: any code is a valid one."""
    return torch.randint(-(2**31), 2**31 - 1, (n_rows, n_columns), dtype=torch.int32)


def random_scales(torch: Any, n_groups: int, n_outputs: int) -> Any:
    """Return fp16 scales of the size that they have in models."""
    return (0.004 + 0.004 * torch.rand(n_groups, n_outputs)).half()


def packed_bytes(n_inputs: int, n_outputs: int, bits: int, group: int) -> int:
    """Return the bytes of a quantized matrix: codes, and a scale and a zero point a group."""
    n_groups = n_inputs // group
    return n_inputs * n_outputs * bits // 8 + n_groups * n_outputs * (16 + bits) // 8


MAKERS: dict[str, Any] = {"gptq": make_gptq, "awq": make_awq}
