"""Prints the interpreter's version and its distributions as one JSON object."""

import importlib.metadata
import json
import platform
import sys

if __name__ == "__main__":
    found = {}
    for one in importlib.metadata.distributions():
        name = one.metadata["Name"]
        if name:
            found[name.lower().replace("_", "-").replace(".", "-")] = one.version
    json.dump({"python": platform.python_version(), "dists": found}, sys.stdout)
    sys.stdout.write("\n")
