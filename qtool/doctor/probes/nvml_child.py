"""Ask NVML about the GPUs; run as a script in a child process, for a driver may hang or crash.

Prints one JSON object: ``driver`` and ``gpus``, or ``error`` and NVML's number for it.
"""

import json
import sys
from typing import Any


def main() -> None:
    """Print what NVML says."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as exc:
        answer = {"error": str(exc), "number": exc.value}
    else:
        count = pynvml.nvmlDeviceGetCount()
        answer = {
            "driver": _text(pynvml.nvmlSystemGetDriverVersion()),
            "gpus": [_describe(pynvml, index) for index in range(count)],
        }
    sys.stdout.write(json.dumps(answer))


def _describe(pynvml: Any, index: int) -> dict[str, Any]:
    """Return a GPU as a snapshot has it; what it does not tell is left out."""
    gpu: dict[str, Any] = {}
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        gpu["name"] = _text(pynvml.nvmlDeviceGetName(handle))
        gpu["cc"] = "{}.{}".format(*pynvml.nvmlDeviceGetCudaComputeCapability(handle))
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        gpu["vram_mib"] = memory.total // 2**20
        gpu["vram_free_mib"] = memory.free // 2**20
    except pynvml.NVMLError:
        pass
    return gpu


def _text(value: "bytes | str") -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


if __name__ == "__main__":
    main()
