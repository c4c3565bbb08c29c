"""Start the server as ``python -I path/to/transformers_server``.

Python puts this folder at the head of ``sys.path``, where its modules could hide packages of the
environment; and the folder above must never be there, for ``engines/transformers.py`` would hide
transformers itself. So the path is taken away, and both folders become a package by hand.
"""

import importlib
import os
import sys
import types


def run() -> None:
    """Make this folder importable under a name of its own, and run the program."""
    folder = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - before all else
    sys.path[:] = [path for path in sys.path if path != folder]
    engines = types.ModuleType("qtool_engines")
    engines.__path__ = [os.path.dirname(folder)]  # noqa: PTH120
    sys.modules["qtool_engines"] = engines
    importlib.import_module("qtool_engines.transformers_server.program").main()


if __name__ == "__main__":
    run()
