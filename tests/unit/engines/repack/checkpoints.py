"""A tiny Llama checkpoint, quantised, made with numpy alone."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from qtool.models.repackable import AWQ_LAYOUTS, Layout
from tests.unit.engines.repack.packing import Quantised, pack, pack_gemv, pack_gemv_fast

WIDTH, FEED_FORWARD, N_LAYERS, HEAD_DIM = 64, 128, 2, 32
PROJECTIONS = {
    "self_attn.q_proj": (64, WIDTH),
    "self_attn.k_proj": (32, WIDTH),
    "self_attn.v_proj": (32, WIDTH),
    "self_attn.o_proj": (WIDTH, 64),
    "mlp.gate_proj": (FEED_FORWARD, WIDTH),
    "mlp.up_proj": (FEED_FORWARD, WIDTH),
    "mlp.down_proj": (WIDTH, FEED_FORWARD),
}
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": WIDTH,
    "intermediate_size": FEED_FORWARD,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"


def byte_alphabet() -> list[str]:
    """Return the characters that stand for bytes 0 to 255 in byte-level BPE (GPT-2)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    places = dict(zip(plain, map(chr, plain), strict=True))
    places |= {byte: chr(256 + index) for index, byte in enumerate(others)}
    return [places[byte] for byte in range(256)]


def tokenizer_json() -> dict[str, Any]:
    """Return a byte-level tokenizer of 2 special tokens, 256 bytes and one merge."""
    vocab = {token: index + 2 for index, token in enumerate(byte_alphabet())} | {"he": 258}
    specials = ("<|im_start|>", "<|im_end|>")
    return {
        "added_tokens": [
            {"id": index, "content": content, "special": True}
            for index, content in enumerate(specials)
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        "post_processor": None,
        "model": {"type": "BPE", "vocab": vocab, "merges": [["h", "e"]]},
    }


@dataclass
class Model:
    """What is in a checkpoint; change it before ``write``. ``matrices`` are what was packed."""

    layout: Layout = Layout.GPTQ
    group: int = 32
    is_symmetric: bool = True
    bits: int = 4
    seed: int = 0
    config: dict[str, Any] = field(default_factory=lambda: json.loads(json.dumps(CONFIG)))
    tokenizer: dict[str, Any] = field(default_factory=tokenizer_json)
    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    matrices: dict[str, Quantised] = field(default_factory=dict)
    n_rows: int = 264

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.tensors["model.embed_tokens.weight"] = self._floats(self.n_rows, WIDTH)
        self.tensors["model.norm.weight"] = self._floats(WIDTH)
        self.tensors["lm_head.weight"] = self._floats(self.n_rows, WIDTH)
        for layer in range(N_LAYERS):
            stem = f"model.layers.{layer}."
            for norm in ("input_layernorm", "post_attention_layernorm"):
                self.tensors[f"{stem}{norm}.weight"] = self._floats(WIDTH)
            for name, (n_outputs, n_inputs) in PROJECTIONS.items():
                self.add_matrix(stem + name, n_outputs, n_inputs)
        self.config["quantization_config"] = self.describe()

    def add_matrix(self, module: str, n_outputs: int, n_inputs: int) -> None:
        """Make up a quantised matrix and pack it."""
        n_groups = 1 if self.group == -1 else n_inputs // self.group
        shape, middle = (n_groups, n_outputs), 2 ** (self.bits - 1)
        zeros = np.full(shape, middle) if self.is_symmetric else self.rng.integers(1, 15, shape)
        scales = (self.rng.random(shape) / 50 + 0.001).astype(np.float16)
        codes = self.rng.integers(0, 2**self.bits, (n_inputs, n_outputs))
        self.matrices[module] = Quantised(codes, zeros, scales, self.bits)
        qweight, qzeros, scales = self._packed(self.matrices[module])
        signed = {2: np.int16, 4: np.int32}[qweight.dtype.itemsize]
        self.tensors[f"{module}.qweight"] = qweight.view(signed)
        is_words = qzeros.dtype.kind == "u"
        self.tensors[f"{module}.qzeros"] = qzeros.view(np.int32) if is_words else qzeros
        self.tensors[f"{module}.scales"] = scales
        if self.layout not in AWQ_LAYOUTS:
            order = np.arange(n_inputs, dtype=np.int32) // (n_inputs // n_groups)
            self.tensors[f"{module}.g_idx"] = order.astype(np.int32)

    def _packed(self, matrix: Quantised) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        match self.layout:
            case Layout.AWQ_GEMV:
                return pack_gemv(matrix)
            case Layout.AWQ_GEMV_FAST:
                return pack_gemv_fast(matrix)
            case _:
                packed = pack(matrix, self.layout)
                return packed.qweight, packed.qzeros, packed.scales

    def describe(self) -> dict[str, Any]:
        """Return the ``quantization_config``."""
        common = {"bits": self.bits, "group_size": self.group}
        if self.layout in AWQ_LAYOUTS:
            version = str(self.layout)
            return {"quant_method": "awq", "zero_point": True, "version": version, **common}
        return {"quant_method": "gptq", "checkpoint_format": str(self.layout), **common}

    def write(self, folder: Path, *, n_shards: int = 1) -> Path:
        """Write the checkpoint, in one file or several with an index."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(self.config))
        (folder / "tokenizer.json").write_text(json.dumps(self.tokenizer))
        stated = {"eos_token": "<|im_end|>", "chat_template": TEMPLATE}
        (folder / "tokenizer_config.json").write_text(json.dumps(stated))
        names = list(self.tensors)
        shards = {
            f"model-{index + 1:05}-of-{n_shards:05}.safetensors": names[index::n_shards]
            for index in range(n_shards)
        }
        if n_shards == 1:
            shards = {"model.safetensors": names}
        else:
            weight_map = {name: shard for shard, own in shards.items() for name in own}
            index = folder / "model.safetensors.index.json"
            index.write_text(json.dumps({"weight_map": weight_map}))
        for shard, own in shards.items():
            save_file({name: self.tensors[name] for name in own}, folder / shard)
        return folder

    def _floats(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape).astype(np.float16)


Change = Callable[[Model], object]
