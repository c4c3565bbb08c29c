"""What a repack of a model of 7B shape costs: peak memory, MB/s of input, wall time.

    python scripts/bench/repack.py [--folder DIR] [--keep] [--format gptq|awq]

Makes a checkpoint of random codes, shard by shard (3.9 GB; as much again for the GGUF), and runs
`qtool repack` on it in a process of its own.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

WIDTH, FEED_FORWARD, N_LAYERS, N_HEADS, N_TOKENS, GROUP = 4096, 11008, 32, 32, 32000, 128
LAYERS_IN_SHARD = 8
PROJECTIONS = {
    **{f"self_attn.{name}_proj": (WIDTH, WIDTH) for name in "qkvo"},
    "mlp.gate_proj": (WIDTH, FEED_FORWARD),
    "mlp.up_proj": (WIDTH, FEED_FORWARD),
    "mlp.down_proj": (FEED_FORWARD, WIDTH),
}
MAX_PEAK_BYTES = 2 * 10**9
MIN_BYTES_PER_S = 150e6


def make_matrix(rng: np.random.Generator, n_inputs: int, n_outputs: int, form: str) -> dict:
    """Return random codes in the layout of ``form``; GPTQ's are symmetric, AWQ's not."""
    n_groups = n_inputs // GROUP
    is_gptq = form == "gptq"
    shape = (n_inputs // 8, n_outputs) if is_gptq else (n_inputs, n_outputs // 8)
    codes = np.frombuffer(rng.bytes(4 * shape[0] * shape[1]), np.int32).reshape(shape)
    zeros = np.full((n_groups, n_outputs // 8), 0x77777777 if is_gptq else 0x75647596, np.int32)
    scales = (rng.random((n_groups, n_outputs), np.float32) / 500 + 0.001).astype(np.float16)
    parts = {"qweight": codes, "qzeros": zeros, "scales": scales}
    if is_gptq:
        parts["g_idx"] = np.arange(n_inputs, dtype=np.int32) // GROUP
    return parts


def make_shards(form: str) -> Iterator[dict[str, np.ndarray]]:
    """Yield the tensors of one shard after the other."""
    rng = np.random.default_rng(0)
    for first in range(0, N_LAYERS, LAYERS_IN_SHARD):
        tensors = {}
        for layer in range(first, first + LAYERS_IN_SHARD):
            stem = f"model.layers.{layer}."
            for norm in ("input_layernorm", "post_attention_layernorm"):
                tensors[f"{stem}{norm}.weight"] = np.ones(WIDTH, np.float16)
            for name, (n_inputs, n_outputs) in PROJECTIONS.items():
                parts = make_matrix(rng, n_inputs, n_outputs, form)
                tensors |= {f"{stem}{name}.{part}": array for part, array in parts.items()}
        yield tensors
    rows = rng.standard_normal((N_TOKENS, WIDTH), np.float32).astype(np.float16)
    yield {
        "model.embed_tokens.weight": rows,
        "lm_head.weight": rows,
        "model.norm.weight": np.ones(WIDTH, np.float16),
    }


def make_checkpoint(folder: Path, form: str) -> None:
    """Write the checkpoint with an index, a configuration and a tokenizer of single bytes."""
    weight_map = {}
    for number, tensors in enumerate(make_shards(form)):
        name = f"model-{number:05}.safetensors"
        save_file(tensors, folder / name)
        weight_map |= dict.fromkeys(tensors, name)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    quantization = {"quant_method": form, "bits": 4, "group_size": GROUP}
    own = {"sym": True, "desc_act": False} if form == "gptq" else {"version": "gemm"}
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": WIDTH,
        "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": N_LAYERS,
        "num_attention_heads": N_HEADS,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "quantization_config": {**quantization, **own},
    }
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer = {
        "added_tokens": [],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True},
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True},
        "model": {"type": "BPE", "vocab": {chr(33 + i): i for i in range(94)}, "merges": []},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


def measure(folder: Path) -> bool:
    """Repack, print what it cost, and tell whether it keeps the promises."""
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    command = [sys.executable, "-m", "qtool", "repack", str(folder), "--json"]
    environ = {**os.environ, "QTOOL_CACHE": str(folder / "cache")}
    begin = time.monotonic()
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.monotonic() - begin
    if status:
        raise SystemExit("qtool repack failed")
    cpu_s = usage.ru_utime + usage.ru_stime
    peak_bytes = usage.ru_maxrss * 1024
    print(f"input        {size / 1e9:.2f} GB in {len(list(folder.glob('*.safetensors')))} shards")
    print(f"wall         {wall_s:.1f} s, {size / wall_s / 1e6:.0f} MB/s")
    print(f"processor    {cpu_s:.1f} s, {size / cpu_s / 1e6:.0f} MB/s per core")
    print(f"peak memory  {peak_bytes / 1e6:.0f} MB")
    return peak_bytes < MAX_PEAK_BYTES and size / cpu_s > MIN_BYTES_PER_S


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="where there is room for 8 GB")
    parser.add_argument("--format", choices=("gptq", "awq"), default="gptq")
    parser.add_argument("--keep", action="store_true", help="keep what was made")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.make:
        make_checkpoint(chosen.make, chosen.format)
        return
    folder = Path(tempfile.mkdtemp(prefix="repack-", dir=chosen.folder))
    try:
        # In a process of its own: a child's peak memory begins with that of its parent.
        make = [sys.executable, __file__, "--format", chosen.format, "--make", str(folder)]
        subprocess.run(make, check=True)
        is_good = measure(folder)
    finally:
        if not chosen.keep:
            shutil.rmtree(folder)
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
