"""Makes tiny models, plain and quantised. Runs in an environment with torch and transformers.

``python make_models.py FOLDER`` makes ``FOLDER/<name>`` for each of ``MODELS``; beside a quantised
one lies ``<name>-dense``: the same model with the weights that its codes stand for, in float32.
``python make_models.py FOLDER GGUF`` unpacks and packs a real model.

Layouts (K inputs, N outputs, g group size): GPTQ qweight int32 (K/8, N), qzeros int32 (K/g, N/8)
that hold the zero point minus one, scales fp16 (K/g, N), g_idx int32 (K); AWQ gemm qweight int32
(K, N/8) with nibbles in the order 0, 2, 4, 6, 1, 3, 5, 7, qzeros int32 (K/g, N/8).
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

SPECIAL = ["<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking %}<think>\n{% endif %}{% endif %}"
)
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
MODELS = {
    "gptq-sym-32": {"group": 32, "is_symmetric": True},
    "gptq-sym-64": {"group": 64, "is_symmetric": True},
    "gptq-sym-128": {"group": 128, "is_symmetric": True},
    "gptq-asym-64": {"group": 64, "is_symmetric": False},
    "gptq-act-order-64": {"group": 64, "is_symmetric": True, "is_act_order": True},
    "awq-64": {"group": 64, "is_symmetric": False},
    "awq-128": {"group": 128, "is_symmetric": False},
}


def make_tokenizer(folder: Path) -> int:
    """Write a tokenizer whose tokens are bytes; return the size of its vocabulary."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: i for i, token in enumerate(SPECIAL + alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
    )
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    return len(vocab)


def make_plain(folder: Path, config: object = None) -> None:
    """Write a random model in float32 with its tokenizer."""
    n_vocab = make_tokenizer(folder)
    torch.manual_seed(0)
    config = config or LlamaConfig(
        num_hidden_layers=2, hidden_size=128, intermediate_size=256, **shape(n_vocab)
    )
    AutoModelForCausalLM.from_config(config).float().save_pretrained(folder)


def shape(n_vocab: int) -> dict[str, object]:
    return {
        "vocab_size": n_vocab,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "initializer_range": 0.15,
        "eos_token_id": 1,
        "bos_token_id": None,
    }


def make_sliding(folder: Path) -> None:
    """Write a model with a window of 16 tokens in every other layer."""
    n_vocab = make_tokenizer(folder)
    config = AutoConfig.for_model(
        "gemma3_text",
        num_hidden_layers=4,
        hidden_size=128,
        intermediate_size=256,
        head_dim=32,
        sliding_window=16,
        layer_types=["sliding_attention", "full_attention"] * 2,
        **shape(n_vocab),
    )
    make_plain(folder, config)


def make_rope(folder: Path) -> None:
    """Write a model whose rotary base is not the usual 10000."""
    n_vocab = make_tokenizer(folder)
    rope = {"rope_type": "default", "rope_theta": 1e6}
    layers = {"num_hidden_layers": 2, "hidden_size": 128, "intermediate_size": 256}
    make_plain(folder, LlamaConfig(rope_parameters=rope, **layers, **shape(n_vocab)))


def make_linear(folder: Path) -> None:
    """Write a model with linear attention, whose state cannot be cut."""
    n_vocab = make_tokenizer(folder)
    config = AutoConfig.for_model(
        "qwen3_next",
        num_hidden_layers=2,
        hidden_size=128,
        intermediate_size=256,
        head_dim=32,
        layer_types=["linear_attention", "full_attention"],
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        linear_key_head_dim=32,
        linear_value_head_dim=32,
        num_experts=0,
        mlp_only_layers=[0, 1],
        **shape(n_vocab),
    )
    make_plain(folder, config)


def make_quantised(source: Path, folder: Path, method: str, **values: object) -> None:
    """Write the quantised form of ``source``, and ``<folder>-dense``: what its codes stand for."""
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    packed = {}
    for key, tensor in list(model.state_dict().items()):
        if not key.endswith("proj.weight"):
            packed[key] = tensor.half().clone()
            continue
        codes, zeros, scales, g_idx = quantise(tensor, **values)
        stem = key.removesuffix("weight")
        pack = pack_gptq if method == "gptq" else pack_awq
        packed |= {f"{stem}{part}": t for part, t in pack(codes, zeros, scales, g_idx).items()}
        tensor.copy_(((codes - zeros[g_idx]) * scales[g_idx].float()).T)
    model.save_pretrained(f"{folder}-dense")
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenizer.save_pretrained(f"{folder}-dense")
    tokenizer.save_pretrained(folder)
    save_file(packed, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((source / "config.json").read_text())
    config |= {"dtype": "float16", "quantization_config": describe(method, **values)}
    (folder / "config.json").write_text(json.dumps(config))


def make_smollm(base: Path, gguf: Path) -> None:
    """Write the real starter model, unpacked from its GGUF, and packed as GPTQ."""
    where = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    unpack = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(
        **where, dtype=torch.bfloat16, quantization_config=unpack
    )
    model.save_pretrained(base / "smollm")
    AutoTokenizer.from_pretrained(**where).save_pretrained(base / "smollm")
    make_quantised(base / "smollm", base / "smollm-gptq", "gptq", group=32, is_symmetric=False)


def describe(
    method: str, group: int, is_symmetric: bool, is_act_order: bool = False
) -> dict[str, object]:
    own = {"quant_method": method, "bits": 4, "group_size": group}
    if method == "awq":
        return {**own, "zero_point": True, "version": "gemm"}
    return {**own, "sym": is_symmetric, "desc_act": is_act_order, "checkpoint_format": "gptq"}


def quantise(
    weight: torch.Tensor, group: int, is_symmetric: bool, is_act_order: bool = False
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Round ``weight`` (N, K): codes (K, N), zeros and scales (K/g, N), the group of each row."""
    rows = weight.T
    n_inputs = rows.shape[0]
    order = torch.randperm(n_inputs) if is_act_order else torch.arange(n_inputs)
    g_idx = torch.empty(n_inputs, dtype=torch.int32)
    g_idx[order] = (torch.arange(n_inputs) // group).int()
    grouped = torch.stack([rows[g_idx == i] for i in range(n_inputs // group)])
    if is_symmetric:
        scales = (grouped.abs().amax(1) / 7).half()
        zeros = torch.full_like(scales, 8).int()
    else:
        low, high = grouped.amin(1).clamp(max=0), grouped.amax(1).clamp(min=0)
        scales = ((high - low) / 15).half()
        zeros = (-low / scales.float()).round().clamp(1, 15).int()
    codes = (rows / scales[g_idx].float()).round() + zeros[g_idx]
    return codes.clamp(0, 15).int(), zeros, scales, g_idx


def pack_gptq(
    codes: torch.Tensor, zeros: torch.Tensor, scales: torch.Tensor, g_idx: torch.Tensor
) -> dict[str, torch.Tensor]:
    return {
        "qweight": pack_nibbles(codes.T, range(8)).T.contiguous(),
        "qzeros": pack_nibbles(zeros - 1, range(8)),
        "scales": scales.contiguous(),
        "g_idx": g_idx,
    }


def pack_awq(
    codes: torch.Tensor, zeros: torch.Tensor, scales: torch.Tensor, g_idx: torch.Tensor
) -> dict[str, torch.Tensor]:
    return {
        "qweight": pack_nibbles(codes, AWQ_ORDER),
        "qzeros": pack_nibbles(zeros, AWQ_ORDER),
        "scales": scales.contiguous(),
    }


def pack_nibbles(values: torch.Tensor, order: "range | tuple[int, ...]") -> torch.Tensor:
    """Pack eight neighbours of the last dimension into an int32, ``order[i]`` into nibble i."""
    eights = values.reshape(*values.shape[:-1], -1, 8).to(torch.int64)
    packed = sum(eights[..., place] << (4 * nibble) for nibble, place in enumerate(order))
    return torch.where(packed >= 2**31, packed - 2**32, packed).to(torch.int32).contiguous()


def main() -> None:
    base = Path(sys.argv[1])
    if len(sys.argv) > 2:
        make_smollm(base, Path(sys.argv[2]))
        return
    make_plain(base / "plain")
    make_sliding(base / "sliding")
    make_rope(base / "rope")
    make_linear(base / "linear")
    for name, values in MODELS.items():
        make_quantised(base / "plain", base / name, name.partition("-")[0], **values)


if __name__ == "__main__":
    main()
