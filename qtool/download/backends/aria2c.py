"""aria2c: its options, its input file, its exit codes (https://aria2.github.io/manual/en/html/)."""

import os
import shutil

from qtool.download.backends.program import Order
from qtool.download.disk import disk_full
from qtool.download.request import DownloadRequest
from qtool.errors import EnvironmentFault, QtoolError, ResourceError, UsageError
from qtool.hub.proxies import Proxy

MOST_CONNECTIONS = 16
"""aria2c's own limit of ``--max-connection-per-server``."""

DISK_FULL = 9
FILE_ERRORS = frozenset({15, 16, 17, 18})
REASONS = {
    2: "it got no answer in time",
    3: "the server does not have the file",
    6: "the network failed",
    8: "the server does not send ranges",
    19: "the server's name cannot be resolved",
    22: "the server answered with an error",
    23: "the server redirects in circles",
    24: "the server refuses it",
    29: "the server is overloaded",
}


class Aria2c:
    """The program ``aria2c`` on PATH."""

    can_resume = True

    def check(self, request: DownloadRequest) -> None:
        """Raise EnvironmentFault without the program, UsageError for too many connections."""
        if shutil.which("aria2c") is None:
            raise EnvironmentFault(
                "--backend aria2c: there is no aria2c on PATH",
                hint="apt-get install aria2   (or: dnf install aria2, brew install aria2)",
            )
        if (request.connections or 0) > MOST_CONNECTIONS:
            raise UsageError(
                f"-x {request.connections}: aria2c makes {MOST_CONNECTIONS} connections at most",
                hint=f"-x {MOST_CONNECTIONS}, or leave --backend out",
            )

    def command(self, order: Order) -> list[str]:
        """Return the command line: no configuration of the user's, no retries for ever."""
        command = [
            "aria2c",
            "--no-conf",
            "--no-netrc",
            "--input-file=-",
            f"--dir={order.target.parent}",
            f"--stop-with-process={os.getpid()}",
            "--continue=true",
            "--auto-file-renaming=false",
            "--allow-overwrite=true",
            "--file-allocation=none",
            "--auto-save-interval=1",
            "--max-tries=5",
            "--retry-wait=1",
            "--connect-timeout=10",
            "--timeout=10",
            "--console-log-level=error",
            "--summary-interval=0",
            "--show-console-readout=false",
            "--download-result=hide",
        ]
        if certificates := os.environ.get("SSL_CERT_FILE"):
            command.append(f"--ca-certificate={certificates}")
        return command

    def environment(self, order: Order) -> dict[str, str]:
        """Return nothing: all it needs is in its input file."""
        return {}

    def instructions(self, order: Order) -> bytes:
        """Return its input file: the address, then options, each on an indented line."""
        options = {
            "out": order.target.name,
            "split": str(order.connections),
            "max-connection-per-server": str(order.connections),
            "min-split-size": "1M",
        }
        if order.rate_limit_bytes_per_s is not None:
            options["max-download-limit"] = str(max(1, int(order.rate_limit_bytes_per_s)))
        if order.proxy is not None:
            options |= _proxy_options(order.proxy)
        lines = [order.url, *(f" {name}={value}" for name, value in options.items())]
        return ("\n".join(lines) + "\n").encode()

    def explain(self, returncode: int, output: str, order: Order) -> QtoolError | str:
        """Return a ResourceError for the disk's faults, else the reason."""
        if returncode == DISK_FULL:
            return disk_full(order.target.parent)
        if returncode in FILE_ERRORS:
            return ResourceError(
                f"aria2c cannot write to {order.target.parent}",
                hint="choose a folder that is yours: --local-dir DIR",
            )
        return f"aria2c: {REASONS.get(returncode, f'it ended with code {returncode}')}"


def _proxy_options(proxy: Proxy) -> dict[str, str]:
    options = {"all-proxy": proxy.url}
    if proxy.username is not None:
        options |= {"all-proxy-user": proxy.username, "all-proxy-passwd": proxy.password or ""}
    return options
