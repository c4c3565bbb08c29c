"""Makes tiny models of each architecture, quantised, and what transformers computes with them.

``python make_repack_models.py FOLDER`` makes for each of ``MODELS`` ``FOLDER/<name>``, packed as
GPTQ or AWQ, and ``FOLDER/<name>.npy``: transformers' logits (n, vocabulary) for the ids in
``FOLDER/ids.json``, computed in float32 with the weights that the codes stand for. Runs in an
environment with torch and transformers.
"""

import json
import random
import sys
from pathlib import Path

import numpy as np
import torch
from make_models import describe, make_tokenizer, pack_awq, pack_gptq, quantise
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

N_IDS = 512
COMMON = {
    "num_hidden_layers": 2,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "initializer_range": 0.15,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": None,
    "vocab_size": 288,
    "tie_word_embeddings": False,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 256,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 1e6,
    "factor": 4.0,
    "original_max_position_embeddings": 128,
}
LONG = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0 + i / 16 for i in range(16)],
    "long_factor": [2.0 + i for i in range(16)],
    "original_max_position_embeddings": 1024,
}
GEMMA3_ROPE = {
    "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
}
GEMMA = {"head_dim": 64, "query_pre_attn_scalar": 64, "sliding_window": 64}
MODELS = {
    "llama3": ("llama", "gptq", 32, {"rope_parameters": LLAMA3, "head_dim": 64}),
    "llama-linear-tied": (
        *("llama", "awq", 64),
        {
            "rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0},
            "tie_word_embeddings": True,
        },
    ),
    "llama-bias": ("llama", "gptq", 64, {"attention_bias": True, "mlp_bias": True}),
    "mistral": ("mistral", "gptq-asym", 32, {"sliding_window": None, "head_dim": 32}),
    "mistral-window": ("mistral", "gptq", 32, {"sliding_window": 128, "head_dim": 32}),
    "qwen2-tied": ("qwen2", "awq", 32, {"tie_word_embeddings": True}),
    "qwen2-yarn": ("qwen2", "gptq", 32, {"rope_parameters": YARN}),
    "qwen3": ("qwen3", "gptq", 128, {"head_dim": 64}),
    "phi3": ("phi3", "gptq", 32, {"sliding_window": None}),
    "phi3-long": (
        *("phi3", "awq", 64),
        {
            "sliding_window": None,
            "rope_parameters": LONG,
            "original_max_position_embeddings": 1024,
        },
    ),
    "gemma2": ("gemma2", "gptq", 64, {**GEMMA, "num_hidden_layers": 4}),
    "gemma3": (
        *("gemma3_text", "awq", 32),
        {**GEMMA, "num_hidden_layers": 7, "rope_parameters": GEMMA3_ROPE},
    ),
}


def make_model(base: Path, name: str, ids: "list[int]") -> None:
    """Write one model, and what transformers computes with it."""
    model_type, method, group, values = MODELS[name]
    folder = base / name
    tied = {"tie_word_embeddings": True} if model_type.startswith("gemma") else {}
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **{**COMMON, **tied, **values})
    model = AutoModelForCausalLM.from_config(config).float().eval()
    packed = {}
    with torch.no_grad():
        for key, tensor in model.named_parameters():
            if key.endswith("proj.weight"):
                stem = key.removesuffix("weight")
                packed |= {f"{stem}{part}": t for part, t in pack(tensor, method, group).items()}
                continue
            if key.endswith(("norm.weight", "bias")):
                tensor.add_(torch.randn_like(tensor) * 0.2)
            tensor.copy_(tensor.half().float())
            packed[key] = tensor.half()
        np.save(base / f"{name}.npy", model(torch.tensor([ids])).logits[0].numpy())
    model.config.save_pretrained(folder)
    make_tokenizer(folder)
    save_file(packed, folder / "model.safetensors", metadata={"format": "pt"})
    path = folder / "config.json"
    kind = method.partition("-")[0]
    quantization = describe(kind, group, method == "gptq")
    own = {"quantization_config": quantization, "architectures": [type(model).__name__]}
    stated = json.loads(path.read_text()) | own
    path.write_text(json.dumps(stated))


def pack(tensor: torch.Tensor, method: str, group: int) -> "dict[str, torch.Tensor]":
    """Quantise ``tensor`` (N, K), leave in it what the codes stand for, and return them packed."""
    codes, zeros, scales, g_idx = quantise(tensor, group, method == "gptq")
    tensor.copy_(((codes - zeros[g_idx]) * scales[g_idx].float()).T)
    return (pack_awq if method == "awq" else pack_gptq)(codes, zeros, scales, g_idx)


def main() -> None:
    base = Path(sys.argv[1])
    rng = random.Random(1)
    ids = [rng.randrange(2, 258) for _ in range(N_IDS)]
    (base / "ids.json").write_text(json.dumps(ids))
    for name in MODELS:
        make_model(base, name, ids)


if __name__ == "__main__":
    main()
