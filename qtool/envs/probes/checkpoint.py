"""Loads tiny quantized checkpoints through transformers and compares them with fp32.

``checkpoint.py [gptq] [awq] [--gpu] [--no-exllama] [--modules NAME,NAME...]``: imports the modules
(after torch, which they link against), then for each format makes a random Llama whose linear
weights are exactly representable in 4 bits, writes the packed checkpoint, loads it with the
kernel that this environment chooses, and compares the logits with the same weights in fp32.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from typing import Any

GROUP = 128
LIMIT = 0.05
"""Largest relative error of the logits. Measured: 0.003 in bf16, 0.69 with a wrong nibble order."""
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
STRAIGHT = (0, 1, 2, 3, 4, 5, 6, 7)
CONFIG = {
    "vocab_size": 128,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
}
METHODS: dict[str, dict[str, Any]] = {
    "gptq": {"desc_act": False, "sym": True, "checkpoint_format": "gptq"},
    "awq": {"zero_point": True, "version": "gemm"},
}


def main(arguments: list[str]) -> None:
    """Do what the command line asks for."""
    torch = importlib.import_module("torch")
    is_on_gpu = "--gpu" in arguments
    if is_on_gpu and not torch.cuda.is_available():
        raise SystemExit("torch cannot use the GPU")
    if "--modules" in arguments:
        for name in arguments[arguments.index("--modules") + 1].split(","):
            importlib.import_module(name)
    for method in METHODS:
        if method in arguments:
            device = "cuda:0" if is_on_gpu else "cpu"
            kernel, error = check(method, device, "--no-exllama" in arguments)
            if not error < LIMIT:
                text = "{} through {} is wrong: relative error {:.3f} against fp32"
                raise SystemExit(text.format(method, kernel, error))
            text = "\nproven: {} on {} through {}: relative error {:.4f} against fp32\n"
            sys.stdout.write(text.format(method, device, kernel, error))


def check(method: str, device: str, is_without_exllama: bool) -> tuple[str, float]:
    """Return the kernel's class and the relative error of the logits."""
    torch = importlib.import_module("torch")
    transformers = importlib.import_module("transformers")
    torch.manual_seed(0)
    reference = transformers.LlamaForCausalLM(transformers.LlamaConfig(**CONFIG)).eval()
    ids = torch.arange(1, 33).reshape(1, 32)  # (batch, sequence)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        write(reference, method, folder)
        expected = reference(ids).logits
        options = {"device_map": device, "torch_dtype": torch.float16}
        if is_without_exllama:
            options["quantization_config"] = transformers.GPTQConfig(bits=4, use_exllama=False)
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, **options)
        got = model(ids.to(device)).logits.float().cpu()
    kernel = type(model.model.layers[0].mlp.up_proj).__name__
    return kernel, float((got - expected).norm() / expected.norm())


def write(model: Any, method: str, folder: str) -> None:
    """Replace the model's linear weights by quantized ones and write it packed to ``folder``."""
    torch = importlib.import_module("torch")
    packed = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            codes, scales = quantize(torch, module)
            tensors = PACKERS[method](torch, codes, scales)
            packed.update({name + "." + key: value for key, value in tensors.items()})
    for name, tensor in model.state_dict().items():
        if name.replace(".weight", ".qweight") not in packed:
            packed[name] = tensor.half().contiguous()
    quantization: dict[str, Any] = {"quant_method": method, "bits": 4, "group_size": GROUP}
    quantization.update(METHODS[method])
    config = {"torch_dtype": "float16", **model.config.to_dict()}
    config.update(quantization_config=quantization, architectures=["LlamaForCausalLM"])
    path = os.path.join(folder, "model.safetensors")  # noqa: PTH118
    save_file = importlib.import_module("safetensors.torch").save_file
    save_file(packed, path, metadata={"format": "pt"})
    with open(os.path.join(folder, "config.json"), "w") as file:  # noqa: PTH118, PTH123
        json.dump(config, file, default=str)


def quantize(torch: Any, linear: Any) -> tuple[Any, Any]:
    """Give ``linear`` random 4-bit weights; return codes (K, N) and fp16 scales (K/group, N)."""
    n_outputs, n_inputs = linear.weight.shape
    codes = torch.randint(0, 16, (n_inputs, n_outputs), dtype=torch.int32)
    scales = (0.004 + 0.004 * torch.rand(n_inputs // GROUP, n_outputs)).half()
    weight = (codes - 8).float() * scales.float().repeat_interleave(GROUP, 0)
    linear.weight.data = weight.t().contiguous()
    return codes, scales


def pack_gptq(torch: Any, codes: Any, scales: Any) -> dict[str, Any]:
    """Pack eight inputs a word; zero points are stored less one."""
    groups = torch.arange(codes.shape[0], dtype=torch.int32) // GROUP
    zeros = torch.full(scales.shape, 7, dtype=torch.int32)
    return {
        "qweight": pack(torch, codes.t(), STRAIGHT).t().contiguous(),
        "qzeros": pack(torch, zeros, STRAIGHT),
        "scales": scales,
        "g_idx": groups,
    }


def pack_awq(torch: Any, codes: Any, scales: Any) -> dict[str, Any]:
    """Pack eight outputs a word, interleaved."""
    zeros = torch.full(scales.shape, 8, dtype=torch.int32)
    return {
        "qweight": pack(torch, codes, AWQ_ORDER),
        "qzeros": pack(torch, zeros, AWQ_ORDER),
        "scales": scales,
    }


PACKERS = {"gptq": pack_gptq, "awq": pack_awq}


def pack(torch: Any, codes: Any, order: tuple[int, ...]) -> Any:
    """Pack eight neighbours of the last dimension into an int32, nibble i from ``order[i]``."""
    words = torch.zeros(codes.shape[0], codes.shape[1] // 8, dtype=torch.int64)
    for nibble, column in enumerate(order):
        words |= codes[:, column::8].to(torch.int64) << (4 * nibble)
    words = torch.where(words >= 1 << 31, words - (1 << 32), words)
    return words.to(torch.int32).contiguous()


if __name__ == "__main__":
    main(sys.argv[1:])
