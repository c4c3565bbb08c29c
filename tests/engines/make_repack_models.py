"""Makes tiny models of each architecture, quantised, and what transformers computes with them.

``python make_repack_models.py FOLDER`` makes for each of ``MODELS`` ``FOLDER/<name>``, packed as
GPTQ or AWQ, and ``FOLDER/<name>.npy``: transformers' logits (n, vocabulary) for the ids in
``FOLDER/ids.json``, computed in float32 with the weights that the codes stand for.
``FOLDER/bfloat16.json`` says how near transformers comes to them in bfloat16. Runs in an
environment with torch and transformers.

Random weights of this size magnify every rounding from layer to layer: good for finding mistakes,
too much for counting top tokens in low precision. ``<name>-calm`` is the same model with layers
that add to the embedding a little at a time, as those of trained models do.
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


CALM = "-calm"
CALM_GAIN = 0.03
CALM_TIED_NORM = 0.05
"""Tied heads know the last token again: without this they would be sure of it."""


def make_model(base: Path, name: str, ids: "list[int]") -> dict[str, float]:
    """Write one model, and what transformers computes with it; return how near bfloat16 comes."""
    model_type, method, group, values = MODELS[name.removesuffix(CALM)]
    folder = base / name
    tied = {"tie_word_embeddings": True} if model_type.startswith("gemma") else {}
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **{**COMMON, **tied, **values})
    model = AutoModelForCausalLM.from_config(config).float().eval()
    if name.endswith(CALM):
        calm(model)
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
        expected = model(torch.tensor([ids])).logits[0]
    np.save(base / f"{name}.npy", expected.numpy())
    model.config.save_pretrained(folder)
    make_tokenizer(folder)
    save_file(packed, folder / "model.safetensors", metadata={"format": "pt"})
    path = folder / "config.json"
    kind = method.partition("-")[0]
    quantization = describe(kind, group, method == "gptq")
    own = {"quantization_config": quantization, "architectures": [type(model).__name__]}
    stated = json.loads(path.read_text()) | own
    path.write_text(json.dumps(stated))
    return nearness(model, ids, expected)


@torch.no_grad()
def calm(model: torch.nn.Module) -> None:
    """Weaken the layers beside the embedding, whose rows get a mean square of 1."""
    for key, tensor in model.named_parameters():
        if key.endswith(("o_proj.weight", "down_proj.weight")):
            tensor.mul_(CALM_GAIN)
    embedding = model.get_input_embeddings().weight
    embedding.div_(embedding.square().mean().sqrt())
    if model.config.tie_word_embeddings:
        model.model.norm.weight.mul_(CALM_TIED_NORM)


@torch.no_grad()
def nearness(model: torch.nn.Module, ids: "list[int]", expected: torch.Tensor) -> dict[str, float]:
    """Return how near the model comes in bfloat16, which it is left in: the share of same top
    tokens, and the mean Kullback-Leibler divergence."""
    for parameter in model.parameters():  # the buffers of the rotation stay, as when it is loaded
        parameter.data = parameter.data.bfloat16()
    theirs = expected.double().log_softmax(-1)
    ours = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    divergence = (theirs.exp() * (theirs - ours)).sum(-1).mean()
    same = (ours.argmax(-1) == theirs.argmax(-1)).double().mean()
    return {"top": same.item(), "divergence": divergence.item()}


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
    calm_ones = [f"{name}{CALM}" for name in MODELS if not name.startswith("gemma")]
    near = {name: make_model(base, name, ids) for name in [*MODELS, *calm_ones]}
    (base / "bfloat16.json").write_text(json.dumps(near))


if __name__ == "__main__":
    main()
