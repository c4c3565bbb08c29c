"""Loads models as the server does, and compares their scores with a dense reference's.

``python compare_logits.py SERVER_FOLDER MODEL…`` prints a line of JSON for each model: ``error`` is
the largest difference from ``<MODEL>-dense`` by the reference's standard deviation; ``scores`` are
the first few of a model that has no such reference. ``library:MODEL`` is loaded by the package for
its format. Runs in an environment with torch and transformers, where there is no qtool.
"""

import importlib
import json
import os
import sys
import types
from pathlib import Path
from typing import Any

IDS = list(range(40, 70))


def server_modules(folder: Path, *names: str) -> Any:
    """Import modules of the server, which runs without qtool."""
    engines = types.ModuleType("qtool_engines")
    engines.__path__ = [str(folder.parent)]
    sys.modules["qtool_engines"] = engines
    found = {n: importlib.import_module(f"qtool_engines.transformers_server.{n}") for n in names}
    return types.SimpleNamespace(**found)


def main() -> None:
    reports = os.dup(1)
    os.dup2(2, 1)  # what libraries print is not the report
    server = server_modules(Path(sys.argv[1]), "loader", "network", "settings")

    def scores(folder: str, dtype: str, prefer_int4: bool = True) -> tuple[Any, Any]:
        own = {"dtype": dtype, "prefer_int4": prefer_int4}
        settings = server.settings.Settings(model=folder, api_key="k", **own)
        loaded = server.loader.load(settings, lambda stage, fraction: None)
        network = server.network.Network(loaded.model)
        logits, _ = network.extend(network.new_cache(), IDS, 0)
        return logits.float(), network

    for argument in sys.argv[2:]:
        way, _, model = argument.rpartition(":")
        if not Path(f"{model}-dense").exists():
            logits, _ = scores(model, "float32")
            os.write(reports, json.dumps({"scores": logits[:50].tolist()}).encode() + b"\n")
            continue
        logits, network = scores(model, "auto", prefer_int4=not way)
        expected, _ = scores(f"{model}-dense", "float32")
        error = float((logits - expected).abs().max() / expected.std())
        modules = [m for m in network.model.modules() if hasattr(m, "qzeros" if way else "packed")]
        kinds = sorted({type(module).__name__ for module in modules})
        line = {"error": error, "keeps_cache": network.keeps_cache, "kernels": kinds}
        os.write(reports, json.dumps(line).encode() + b"\n")


if __name__ == "__main__":
    main()
