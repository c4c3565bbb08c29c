"""Measures how near the server's own loader of GPTQ and AWQ comes to float32.

``python measure_int4.py SERVER_FOLDER MODELS NAME…`` prints a line of JSON for each model that
``make_repack_models`` made: how many layers compute with 4 bits, and how near its logits come, in
bfloat16, to those beside it.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from compare_logits import server_modules
from make_repack_models import nearness


def main() -> None:
    reports = os.dup(1)
    os.dup2(2, 1)  # what libraries print is not the report
    server = server_modules(Path(sys.argv[1]), "loader", "settings")
    base = Path(sys.argv[2])
    ids = json.loads((base / "ids.json").read_text())
    for name in sys.argv[3:]:
        settings = server.settings.Settings(model=str(base / name), api_key="k", dtype="bfloat16")
        model = server.loader.load(settings, lambda stage, fraction: None).model
        expected = torch.from_numpy(np.load(base / f"{name}.npy"))
        n_int4 = sum(hasattr(module, "scales_and_zeros") for module in model.modules())
        report = {"layers": n_int4, **nearness(model, ids, expected)}
        os.write(reports, json.dumps(report).encode() + b"\n")


if __name__ == "__main__":
    main()
