"""hf_transfer: a Rust library, run by a Python of its own (https://pypi.org/project/hf-transfer/)."""

import importlib.util
import json
import os
import shlex
import sys
from urllib.parse import quote

from qtool.download.backends.program import Order
from qtool.download.disk import disk_full
from qtool.download.request import DownloadRequest
from qtool.errors import EnvironmentFault, QtoolError, UsageError
from qtool.hub.connection import USER_AGENT

LARGEST_CHUNK_BYTES = 10 * 1024 * 1024
SMALLEST_CHUNK_BYTES = 1024 * 1024
# A chunk is written when all of it is there: several of them for progress that can be seen.
PIECES_PER_CONNECTION = 4


class HfTransfer:
    """The library ``hf_transfer`` beside qtool, in a child process: it can hang, and not stop."""

    can_resume = False

    def check(self, request: DownloadRequest) -> None:
        """Raise EnvironmentFault without the library, UsageError for a limit of the rate."""
        if importlib.util.find_spec("hf_transfer") is None:
            raise EnvironmentFault(
                "--backend hf_transfer: hf_transfer is not installed",
                hint=f"{shlex.quote(sys.executable)} -m pip install hf_transfer",
            )
        if request.rate_limit_bytes_per_s is not None:
            raise UsageError(
                "hf_transfer cannot limit its rate",
                hint="leave --backend out, or --backend aria2c",
            )

    def command(self, order: Order) -> list[str]:
        """Return the command line."""
        module = "qtool.download.backends.hf_transfer_child"
        return [sys.executable, "-P", "-m", module, str(os.getpid())]

    def environment(self, order: Order) -> dict[str, str]:
        """Return the proxy by the names that the library reads."""
        if (proxy := order.proxy) is None:
            return {}
        url = proxy.url
        if proxy.username is not None:
            user = f"{quote(proxy.username, safe='')}:{quote(proxy.password or '', safe='')}"
            url = url.replace("://", f"://{user}@", 1)
        return {"http_proxy": url, "https_proxy": url}

    def instructions(self, order: Order) -> bytes:
        """Return the arguments of ``hf_transfer.download`` as one JSON line."""
        piece = order.size_bytes // (PIECES_PER_CONNECTION * order.connections)
        arguments = {
            "url": order.url,
            "filename": str(order.target),
            "max_files": order.connections,
            "chunk_size": min(max(piece, SMALLEST_CHUNK_BYTES), LARGEST_CHUNK_BYTES),
            "parallel_failures": min(3, order.connections),
            "max_retries": 5,
            "headers": {"User-Agent": f"{USER_AGENT} hf_transfer"},
        }
        return json.dumps(arguments).encode() + b"\n"

    def explain(self, returncode: int, output: str, order: Order) -> QtoolError | str:
        """Return a ResourceError for a full disk, else the library's last words."""
        if "os error 28" in output:  # ENOSPC, as Rust prints it
            return disk_full(order.target.parent)
        lines = output.strip().splitlines()
        return f"hf_transfer: {lines[-1] if lines else f'it ended with code {returncode}'}"
