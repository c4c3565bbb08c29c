"""Decode a few tokens with llama.cpp out of the xllamacpp wheel, and write down how fast.

``llama_child.py MODEL.gguf REPORT``; runs in qtool's own interpreter, which has that wheel. A
first reply warms up, the best of the others counts: what other programs take only lowers it.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import urllib.request
from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
sys.path[:] = [path for path in sys.path if path != HERE]  # not the examined environment's
N_TOKENS, N_TOKENS_WARM, N_RUNS = 24, 4, 3
ENOUGH_S = 20.0
"""A large model is not asked again once its replies took so long together."""
TIMEOUT_S = 600
KEY = "measurement"


def main(model: str, report: str) -> None:
    """Measure, and write down what came of it or what was raised."""
    try:
        found = measure(model)
    except Exception as exc:  # noqa: BLE001 - whatever the wheel raises is the result
        lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
        found = {"failed": {"type": type(exc).__name__, "text": (lines or [""])[-1][-600:]}}
    with open(report + ".new", "w") as file:  # noqa: PTH123
        json.dump(found, file)
    os.replace(report + ".new", report)  # noqa: PTH105
    os._exit(0)  # the server's threads would be waited for


def measure(model: str) -> dict[str, Any]:
    """Return the speed of decoding, as llama.cpp itself takes the time."""
    xllamacpp = importlib.import_module("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [KEY]
    params.cors_origins = "http://127.0.0.1"
    params.n_parallel = 1
    params.n_ctx = 256
    server = xllamacpp.Server(params)
    return {
        "engine": "llama.cpp",
        "kernel": "ggml",
        "device": "cpu",
        "seconds_per_call": seconds_per_token(server.listening_address),
        "bytes_per_call": os.path.getsize(model),  # noqa: PTH202
        "is_token": True,
    }


def seconds_per_token(url: str) -> float:
    """Return the time a token takes in the best of a few replies, as llama.cpp itself takes it."""
    began, best = time.monotonic(), float("inf")
    complete(url, N_TOKENS_WARM)
    for _ in range(N_RUNS):
        timings = complete(url, N_TOKENS)["timings"]
        best = min(best, timings["predicted_ms"] / 1000 / max(1, timings["predicted_n"]))
        if time.monotonic() - began > ENOUGH_S:
            break
    return best


def complete(url: str, n_tokens: int) -> dict[str, Any]:
    """Return what ``/completion`` says; no proxy stands between us and ourselves."""
    body = {"prompt": "abc", "n_predict": n_tokens, "ignore_eos": True, "temperature": 0}
    request = urllib.request.Request(  # noqa: S310 - http, on loopback
        url + "/completion",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": "Bearer " + KEY},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=TIMEOUT_S) as response:
        return dict(json.load(response))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
