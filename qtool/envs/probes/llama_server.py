"""Lets llama.cpp's server (the xllamacpp wheel) answer with a tiny model."""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import urllib.request
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
N_TOKENS = 8
TIMEOUT_S = 60
KEY = "probe"


def main() -> None:
    """Start the server with the model and ask for a few tokens."""
    xllamacpp = importlib.import_module("xllamacpp")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "tiny.gguf")  # noqa: PTH118
        importlib.import_module("tiny_gguf").write(path)
        params = xllamacpp.CommonParams()
        params.model.path = path
        params.hostnames = ["127.0.0.1"]
        params.port = 0
        params.api_keys = [KEY]
        params.cors_origins = "http://127.0.0.1"
        params.n_parallel = 1
        params.n_ctx = 128
        params.warmup = False
        server = xllamacpp.Server(params)
        answer = complete(server.listening_address)
    n_tokens = answer["tokens_predicted"]
    if n_tokens != N_TOKENS:
        raise SystemExit(f"llama.cpp gave {n_tokens} tokens instead of {N_TOKENS}")
    sys.stdout.write(f"\nproven: llama.cpp's server answers with {n_tokens} tokens\n")
    sys.stdout.flush()
    os._exit(0)  # the server's threads would be waited for


def complete(url: str) -> dict[str, Any]:
    """Return what ``/completion`` says; no proxy stands between us and ourselves."""
    body = {"prompt": "abc", "n_predict": N_TOKENS, "ignore_eos": True, "temperature": 0}
    request = urllib.request.Request(  # noqa: S310 - http, on loopback
        url + "/completion",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": "Bearer " + KEY},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=TIMEOUT_S) as response:
        return dict(json.load(response))


if __name__ == "__main__":
    main()
