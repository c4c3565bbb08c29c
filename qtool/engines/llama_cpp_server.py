"""The program of the llama.cpp engine: llama.cpp's own server out of the xllamacpp wheel.

Runs as ``python -P -m qtool.engines.llama_cpp_server`` in a process of its own; see ``base`` for
what goes over its streams. By default that server has no API key and lets every page in the
user's browser in (``Access-Control-Allow-Origin: *``); here it always gets a key, listens on
loopback unless another address is named, and allows no foreign origin.
"""

import json
import os
import threading
from typing import Any

SPIN_COUNT = "1000"
"""How long OpenMP's threads spin where they wait for one another, before they sleep.

By default they spin for as good as ever, and one other busy program on the machine makes decoding
collapse: 2.4 to 9.5 tokens/s instead of 78 to 100 on two cores. With this it is 16 to 27, and 77
to 92 on an idle machine.
"""

COPIED_SHARE = 0.5
"""How much of the free memory weights may take to be copied there; larger ones are mapped."""


def read_settings() -> dict[str, Any]:
    """Read the one JSON line from stdin, byte by byte: what follows belongs to the lifeline."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            raise SystemExit("no settings on stdin")
        line += byte
    settings = json.loads(line)
    if not settings.get("api_key"):
        raise SystemExit("refusing to serve without an API key")
    return dict(settings)


def is_copied(weights_bytes: int, free_bytes: int | None) -> bool:
    """Tell whether weights belong in memory of our own: the pages of a mapped file are small, see
    ``huge_pages``. A mapped file, though, may be larger than the memory that is free."""
    return free_bytes is not None and 0 < weights_bytes <= COPIED_SHARE * free_bytes


def build_params(settings: dict[str, Any], free_bytes: int | None = None) -> Any:
    """Return xllamacpp's parameters for ``settings``; ``free_bytes`` of memory are free."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["model"]
    params.model_alias = {settings["alias"]}
    params.hostnames = [settings.get("host", "127.0.0.1")]
    params.port = settings.get("port", 0)
    params.api_keys = [settings["api_key"]]
    params.cors_origins = "http://127.0.0.1"
    params.ui = False
    params.endpoint_slots = False
    params.n_parallel = 1
    params.n_ctx = settings["n_ctx_tokens"]
    params.cache_ram_mib = 0  # one conversation, one slot: nothing to swap (default 8 GiB)
    params.offline = True
    if is_copied(settings.get("weights_bytes", 0), free_bytes):
        params.load_mode = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE
    if settings.get("chat_template"):
        params.chat_template = settings["chat_template"]
    if settings.get("cache_type") is not None:
        params.cache_type_k = params.cache_type_v = settings["cache_type"]
    if settings.get("n_gpu_layers") is not None:
        params.n_gpu_layers = settings["n_gpu_layers"]
    if settings.get("n_threads") is not None:
        params.cpuparams.n_threads = settings["n_threads"]
    return params


def main() -> None:
    """Load the model, say where the server listens, and serve until killed."""
    from qtool.engines.lifeline import tie_to_parent
    from qtool.engines.memory_limit import bound_memory
    from qtool.ram import read_ram

    settings = read_settings()
    tie_to_parent(0)
    free_bytes = read_ram().available_bytes
    if free_bytes:
        bound_memory(free_bytes)
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    import xllamacpp

    try:
        server = xllamacpp.Server(build_params(settings, free_bytes))
    except RuntimeError as exc:
        raise SystemExit(f"llama.cpp: {exc}") from exc
    print(json.dumps({"url": server.listening_address}), flush=True)  # noqa: T201 - the protocol
    threading.Event().wait()


if __name__ == "__main__":
    main()
