"""Imports modules, with ``--gpu`` after seeing that torch can use the GPU.

``modules.py [--gpu] MODULE...``
"""

from __future__ import annotations

import importlib
import sys


def main(arguments: list[str]) -> None:
    """Import what is named; the interpreter's own traceback says what is wrong."""
    names = [one for one in arguments if one != "--gpu"]
    if "--gpu" in arguments and not importlib.import_module("torch").cuda.is_available():
        raise SystemExit("torch cannot use the GPU")
    for name in names:
        importlib.import_module(name)
    sys.stdout.write("\nproven: imports {}\n".format(", ".join(names)))


if __name__ == "__main__":
    main(sys.argv[1:])
