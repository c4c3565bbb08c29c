"""Says why the server's own loader of GPTQ and AWQ leaves a model to other packages.

``python refuse_int4.py SERVER_FOLDER FOLDER…`` prints a line for each FOLDER, empty if it loads it.
"""

import os
import sys
from pathlib import Path

import torch
from compare_logits import server_modules


def main() -> None:
    reports = os.dup(1)
    os.dup2(2, 1)  # what libraries print is not the report
    server = server_modules(Path(sys.argv[1]), "int4_loader", "loader", "settings")
    for folder in sys.argv[2:]:
        settings = server.settings.Settings(model=folder, api_key="k")
        config = server.loader.read_json(folder, "config.json")
        building = (settings, config["quantization_config"], torch.bfloat16, "sdpa", {})
        reason = ""
        try:
            server.int4_loader.load_int4(*building, lambda fraction: None)
        except server.int4_loader.NotCovered as exc:
            reason = str(exc)
        os.write(reports, reason.encode() + b"\n")


if __name__ == "__main__":
    main()
