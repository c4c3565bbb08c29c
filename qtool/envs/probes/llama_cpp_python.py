"""Lets llama-cpp-python answer with a tiny model; with ``--gpu`` on the GPU."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
N_TOKENS = 8


def main(arguments: list[str]) -> None:
    """Load the model and ask for a few tokens."""
    llama_cpp = importlib.import_module("llama_cpp")
    importlib.import_module("llama_cpp.server.app")
    is_on_gpu = "--gpu" in arguments
    if is_on_gpu and not llama_cpp.llama_supports_gpu_offload():
        raise SystemExit("this build of llama-cpp-python cannot use the GPU")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "tiny.gguf")  # noqa: PTH118
        importlib.import_module("tiny_gguf").write(path)
        layers = -1 if is_on_gpu else 0
        model = llama_cpp.Llama(path, n_ctx=128, n_gpu_layers=layers, verbose=is_on_gpu)
        bias = {model.token_eos(): -100.0}
        answer = model("abc", max_tokens=N_TOKENS, temperature=0.0, logit_bias=bias)
        model.close()
    n_tokens = answer["usage"]["completion_tokens"]
    if n_tokens != N_TOKENS:
        raise SystemExit(f"llama.cpp gave {n_tokens} tokens instead of {N_TOKENS}")
    where = "the GPU" if is_on_gpu else "the CPU"
    sys.stdout.write(f"\nproven: llama-cpp-python answers with {n_tokens} tokens on {where}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
