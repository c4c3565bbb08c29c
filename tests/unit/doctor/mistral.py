"""Mistral-7B-Instruct-v0.3 as headers alone: its configuration, and weight files without data.

The shapes are those of the published model: 32 layers, width 4096, 8 of 32 heads for keys and
values, 14336 in between, a vocabulary of 32768. Files are sparse: of the right size, and empty.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

N_LAYERS, WIDTH, KV_WIDTH, INNER, N_VOCAB, GROUP = 32, 4096, 1024, 14336, 32768, 128
MATRICES = {  # name: (inputs, outputs)
    "self_attn.q_proj": (WIDTH, WIDTH),
    "self_attn.k_proj": (WIDTH, KV_WIDTH),
    "self_attn.v_proj": (WIDTH, KV_WIDTH),
    "self_attn.o_proj": (WIDTH, WIDTH),
    "mlp.gate_proj": (WIDTH, INNER),
    "mlp.up_proj": (WIDTH, INNER),
    "mlp.down_proj": (INNER, WIDTH),
}
CONFIG = {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "hidden_size": WIDTH,
    "intermediate_size": INNER,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 32768,
    "rope_theta": 1000000.0,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": N_VOCAB,
}
Tensors = Iterator[tuple[str, str, list[int]]]
_SIZES = {"F16": 2, "I32": 4}


def make_gptq(folder: Path, *, is_act_order: bool = False) -> Path:
    """Write the model in GPTQ, 4 bit, groups of 128, as auto-gptq stores it."""
    config = {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": is_act_order,
              "sym": True}  # fmt: skip
    return _make_checkpoint(folder, config, list(_gptq_tensors()))


def make_awq(folder: Path) -> Path:
    """Write the model in AWQ, 4 bit, groups of 128, as autoawq stores it."""
    config = {"quant_method": "awq", "bits": 4, "group_size": GROUP, "zero_point": True,
              "version": "gemm"}  # fmt: skip
    return _make_checkpoint(folder, config, list(_awq_tensors()))


def _floats() -> Tensors:
    yield "model.embed_tokens.weight", "F16", [N_VOCAB, WIDTH]
    yield "lm_head.weight", "F16", [N_VOCAB, WIDTH]
    yield "model.norm.weight", "F16", [WIDTH]
    for layer in range(N_LAYERS):
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield f"model.layers.{layer}.{name}.weight", "F16", [WIDTH]


def _modules() -> Iterator[tuple[str, int, int]]:
    for layer in range(N_LAYERS):
        for name, (n_inputs, n_outputs) in MATRICES.items():
            yield f"model.layers.{layer}.{name}", n_inputs, n_outputs


def _gptq_tensors() -> Tensors:
    yield from _floats()
    for name, n_inputs, n_outputs in _modules():
        yield f"{name}.qweight", "I32", [n_inputs // 8, n_outputs]
        yield f"{name}.qzeros", "I32", [n_inputs // GROUP, n_outputs // 8]
        yield f"{name}.scales", "F16", [n_inputs // GROUP, n_outputs]
        yield f"{name}.g_idx", "I32", [n_inputs]


def _awq_tensors() -> Tensors:
    yield from _floats()
    for name, n_inputs, n_outputs in _modules():
        yield f"{name}.qweight", "I32", [n_inputs, n_outputs // 8]
        yield f"{name}.qzeros", "I32", [n_inputs // GROUP, n_outputs // 8]
        yield f"{name}.scales", "F16", [n_inputs // GROUP, n_outputs]


def _make_checkpoint(
    folder: Path, quantization: dict[str, Any], tensors: list[tuple[str, str, list[int]]]
) -> Path:
    folder.mkdir(parents=True)
    config = {**CONFIG, "quantization_config": quantization}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "LlamaTokenizer", "chat_template": "{{ messages }}"})
    )
    header, offset = {}, 0
    for name, dtype, shape in tensors:
        n_bytes = _SIZES[dtype]
        for length in shape:
            n_bytes *= length
        header[name] = {
            "dtype": dtype, "shape": shape, "data_offsets": [offset, offset + n_bytes],
        }  # fmt: skip
        offset += n_bytes
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + offset)
    return folder


def make_gguf(path: Path) -> Path:
    """Write the model in Q4_K_M as llama.cpp mixes it: half of the layers have v and down in Q6_K,
    and so has the output matrix."""
    import gguf

    q4, q6 = gguf.GGMLQuantizationType.Q4_K, gguf.GGMLQuantizationType.Q6_K
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(N_LAYERS)
    writer.add_context_length(32768)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(32)
    writer.add_head_count_kv(8)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_K_M)
    writer.add_chat_template("{{ messages }}")
    n_bytes = 0
    for name, kind, shape in _gguf_tensors(q4, q6, gguf.GGMLQuantizationType.F32):
        block, size = gguf.GGML_QUANT_SIZES[kind]
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        writer.add_tensor_info(name, shape, None, count // block * size, raw_dtype=kind)  # type: ignore[arg-type]
        n_bytes += -(-(count // block * size) // 32) * 32
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    with path.open("ab") as file:
        file.truncate(-(-file.tell() // 32) * 32 + n_bytes)
    return path


def _gguf_tensors(q4: Any, q6: Any, f32: Any) -> Iterator[tuple[str, Any, list[int]]]:
    yield "token_embd.weight", q4, [N_VOCAB, WIDTH]
    yield "output.weight", q6, [N_VOCAB, WIDTH]
    yield "output_norm.weight", f32, [WIDTH]
    names = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    eighth = N_LAYERS // 8
    for layer in range(N_LAYERS):
        is_dear = layer < eighth or layer >= 7 * eighth or (layer - eighth) % 3 == 2
        for name, (n_inputs, n_outputs) in zip(names, MATRICES.values(), strict=True):
            kind = q6 if is_dear and name in ("attn_v", "ffn_down") else q4
            yield f"blk.{layer}.{name}.weight", kind, [n_outputs, n_inputs]
        yield f"blk.{layer}.attn_norm.weight", f32, [WIDTH]
        yield f"blk.{layer}.ffn_norm.weight", f32, [WIDTH]
