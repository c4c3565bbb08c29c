"""The program of the hf_transfer backend: one file, as one JSON line on stdin says.

Runs as ``python -P -m qtool.download.backends.hf_transfer_child PARENT``, the parent's process id.
"""

import ctypes
import json
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process when its parent ends; Linux only.

    A thread that watches over the parent would not do: the library keeps the interpreter's lock.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            raise SystemExit("the parent is gone")


def main() -> None:
    """Fetch the file. Ends with 1 and the library's message on stderr when that fails."""
    die_with_parent(int(sys.argv[1]))
    arguments = json.loads(sys.stdin.readline())
    import hf_transfer

    try:
        hf_transfer.download(**arguments)
    except Exception as exc:  # noqa: BLE001 - the library raises Exception itself
        raise SystemExit(str(exc)) from None


if __name__ == "__main__":
    main()
