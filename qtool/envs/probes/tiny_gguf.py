"""A GGUF of 60 kB with random weights in Q4_0: enough to run a model's whole way.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (version 3).
"""

from __future__ import annotations

import random
import struct

N_EMBD = 64
N_FF = 128
N_LAYERS = 2
N_HEADS = 2
ALIGNMENT = 32
F32, Q4_0 = 0, 2
UINT32, INT32, FLOAT32, STRING, ARRAY = 4, 5, 6, 8, 9
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6
TOKENS = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *"\u2581abcde"]


def write(path: str) -> None:
    """Write the model to ``path``; the same bytes every time."""
    source = random.Random(0)  # noqa: S311 - weights, not secrets
    tensors = [(name, shape, *_data(source, shape)) for name, shape in _shapes()]
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(_metadata())))
        for key, kind, value in _metadata():
            file.write(_string(key) + struct.pack("<I", kind) + value)
        offset = 0
        for name, shape, kind, data in tensors:
            dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
            file.write(_string(name) + dimensions + struct.pack("<IQ", kind, offset))
            offset += len(data) + -len(data) % ALIGNMENT
        file.write(b"\0" * (-file.tell() % ALIGNMENT))
        for _, _, _, data in tensors:
            file.write(data + b"\0" * (-len(data) % ALIGNMENT))


def _shapes() -> list[tuple[str, tuple[int, ...]]]:
    """Return names and shapes, the contiguous dimension (inputs) first."""
    square, vocab = (N_EMBD, N_EMBD), (N_EMBD, len(TOKENS))
    found = [("token_embd.weight", vocab), ("output_norm.weight", (N_EMBD,))]
    found.append(("output.weight", vocab))
    for layer in range(N_LAYERS):
        block = f"blk.{layer}."
        found += [(f"{block}{name}_norm.weight", (N_EMBD,)) for name in ("attn", "ffn")]
        found += [(f"{block}attn_{name}.weight", square) for name in ("q", "k", "v", "output")]
        found += [(f"{block}ffn_{name}.weight", (N_EMBD, N_FF)) for name in ("gate", "up")]
        found.append((f"{block}ffn_down.weight", (N_FF, N_EMBD)))
    return found


def _data(source: random.Random, shape: tuple[int, ...]) -> tuple[int, bytes]:
    """Return a type and bytes: ones for a vector, random blocks of Q4_0 for a matrix."""
    if len(shape) == 1:
        return F32, struct.pack("<f", 1.0) * shape[0]
    n_blocks = shape[0] * shape[1] // 32
    codes = source.getrandbits(n_blocks * 16 * 8).to_bytes(n_blocks * 16, "little")
    scale = struct.pack("<e", 0.02)
    blocks = (scale + codes[16 * i : 16 * i + 16] for i in range(n_blocks))
    return Q4_0, b"".join(blocks)


def _metadata() -> list[tuple[str, int, bytes]]:
    kinds = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * 6]
    numbers = {
        "context_length": 128,
        "embedding_length": N_EMBD,
        "block_count": N_LAYERS,
        "feed_forward_length": N_FF,
        "rope.dimension_count": N_EMBD // N_HEADS,
        "attention.head_count": N_HEADS,
        "attention.head_count_kv": N_HEADS,
    }
    tokenizer = "tokenizer.ggml."
    scores = struct.pack(f"<{len(TOKENS)}f", *[0.0] * len(TOKENS))
    types = struct.pack(f"<{len(TOKENS)}i", *kinds)
    return [
        ("general.architecture", STRING, _string("llama")),
        *((f"llama.{key}", UINT32, struct.pack("<I", n)) for key, n in numbers.items()),
        ("llama.attention.layer_norm_rms_epsilon", FLOAT32, struct.pack("<f", 1e-5)),
        (tokenizer + "model", STRING, _string("llama")),
        (tokenizer + "tokens", ARRAY, _array(STRING, b"".join(map(_string, TOKENS)))),
        (tokenizer + "scores", ARRAY, _array(FLOAT32, scores)),
        (tokenizer + "token_type", ARRAY, _array(INT32, types)),
    ]


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _array(kind: int, data: bytes) -> bytes:
    return struct.pack("<IQ", kind, len(TOKENS)) + data
