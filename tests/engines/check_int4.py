"""Unpacks matrices and multiplies by them as the server does on a processor.

``python check_int4.py SERVER_FOLDER CASES.npz OUT.npz``: of each case in CASES (``<name>.qweight``,
``.qzeros``, ``.scales``, perhaps ``.g_idx``, ``.packing`` as layout and bits, ``.x`` as rows of
inputs) OUT has ``<name>.values``, the weights in float32, and, if the kernel computes with them,
``<name>.<rows>.<dtype>``, the products of the first so many rows. Runs where there is no qtool.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from compare_logits import server_modules

ROWS = (1, 7, 127, 128, 300)
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def main() -> None:
    server = server_modules(Path(sys.argv[1]), "packed_matrix", "int4_linear")
    cases = np.load(sys.argv[2])
    found: dict[str, np.ndarray] = {"block": np.array(server.int4_linear.find_block_outputs() or 0)}
    for name in sorted({key.partition(".")[0] for key in cases.files}):
        own = {
            key.partition(".")[2]: cases[key] for key in cases.files if key.startswith(f"{name}.")
        }
        layout, bits = own.pop("packing")
        parts = {part: torch.from_numpy(array) for part, array in own.items()}
        packing = server.packed_matrix.Packing(str(layout), int(bits))
        matrix = server.packed_matrix.unpack_matrix(parts, packing)
        found[f"{name}.values"] = matrix.values(torch.float32).numpy()
        group_size = server.int4_linear.find_group_size(matrix)
        if group_size is None:
            continue
        linear = server.int4_linear.Int4Linear(matrix, group_size, None)
        for dtype_name, dtype in DTYPES.items():
            for n_rows in ROWS:
                product = linear(parts["x"][:n_rows].to(dtype))
                assert product.dtype is dtype
                found[f"{name}.{n_rows}.{dtype_name}"] = product.float().numpy()
    np.savez(sys.argv[3], **found)


if __name__ == "__main__":
    main()
