"""Mistral-7B-Instruct-v0.3 in the tutorial's formats: true headers, sparse files of zeros."""

import json
import os
import struct
from pathlib import Path

CONFIG = {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 32768,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "sliding_window": None,
    "torch_dtype": "float16",
    "vocab_size": 32768,
}
GPTQ = {
    "quant_method": "gptq",
    "bits": 4,
    "group_size": 128,
    "sym": True,
    "desc_act": False,
}
# inputs and outputs of a layer's matrices
LINEAR = {
    "self_attn.q_proj": (4096, 4096),
    "self_attn.k_proj": (4096, 1024),
    "self_attn.v_proj": (4096, 1024),
    "self_attn.o_proj": (4096, 4096),
    "mlp.gate_proj": (4096, 14336),
    "mlp.up_proj": (4096, 14336),
    "mlp.down_proj": (14336, 4096),
}
N_PARAMS = 7_248_023_552


def shapes(*, is_gptq: bool) -> dict[str, tuple[str, list[int]]]:
    tensors: dict[str, tuple[str, list[int]]] = {
        "model.embed_tokens.weight": ("F16", [32768, 4096]),
        "lm_head.weight": ("F16", [32768, 4096]),
        "model.norm.weight": ("F16", [4096]),
    }
    for layer in range(32):
        prefix = f"model.layers.{layer}"
        tensors[f"{prefix}.input_layernorm.weight"] = ("F16", [4096])
        tensors[f"{prefix}.post_attention_layernorm.weight"] = ("F16", [4096])
        for name, (k, n) in LINEAR.items():
            if is_gptq:
                tensors[f"{prefix}.{name}.qweight"] = ("I32", [k // 8, n])
                tensors[f"{prefix}.{name}.qzeros"] = ("I32", [k // 128, n // 8])
                tensors[f"{prefix}.{name}.scales"] = ("F16", [k // 128, n])
                tensors[f"{prefix}.{name}.g_idx"] = ("I32", [k])
            else:
                tensors[f"{prefix}.{name}.weight"] = ("F16", [n, k])
    return tensors


def write_sparse(path: Path, tensors: dict[str, tuple[str, list[int]]]) -> None:
    """Write the header and give the file its size without its bytes."""
    header: dict[str, object] = {}
    offset = 0
    for name, (dtype, shape) in tensors.items():
        n_bytes = {"F16": 2, "I32": 4}[dtype]
        for dimension in shape:
            n_bytes *= dimension
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + n_bytes]}
        offset += n_bytes
    data = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(data)) + data)
    os.truncate(path, 8 + len(data) + offset)


def write_mistral(folder: Path, *, is_gptq: bool) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    config = {**CONFIG, "quantization_config": GPTQ} if is_gptq else CONFIG
    (folder / "config.json").write_text(json.dumps(config))
    write_sparse(folder / "model.safetensors", shapes(is_gptq=is_gptq))
    return folder
