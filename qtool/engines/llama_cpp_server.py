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


def build_params(settings: dict[str, Any]) -> Any:
    """Return xllamacpp's parameters for ``settings``."""
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
    if settings.get("is_copied"):  # the pages of a mapped file are small, see huge_pages
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
    if free_bytes := read_ram().available_bytes:
        bound_memory(free_bytes)
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    import xllamacpp

    try:
        server = xllamacpp.Server(build_params(settings))
    except RuntimeError as exc:
        raise SystemExit(f"llama.cpp: {exc}") from exc
    print(json.dumps({"url": server.listening_address}), flush=True)  # noqa: T201 - the protocol
    threading.Event().wait()


if __name__ == "__main__":
    main()
