"""Runs a server that is not ours as an engine: ``python -P -m qtool.engines.outside_server``.

Such a server (llama-server, llama_cpp.server, vLLM) knows nothing of the streams that ``base``
describes. So this program becomes that server, and a small process beside it asks whether it is
ready, tells our parent, and kills it and all that it started when the parent goes. The key is in
the server's environment, never among its arguments, which everybody can read.
"""

import contextlib
import http.client
import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any

LOOPBACK, EVERYWHERE = "127.0.0.1", "0.0.0.0"  # noqa: S104 - only where the user names it

POLL_S = 0.2
ANSWER_TIMEOUT_S = 5


def main() -> None:
    """Read the settings, leave a watcher behind, and become the server."""
    from qtool.engines.llama_cpp_server import read_settings

    settings = read_settings()
    host = str(settings.get("host", LOOPBACK))
    port = int(settings.get("port") or _free_port(host))
    server, reports = os.getpid(), os.dup(1)
    if os.fork() == 0:
        try:
            _watch(server, (LOOPBACK if host == EVERYWHERE else host, port), settings, reports)
        finally:
            os._exit(0)
    os.dup2(2, 1)  # what it prints belongs to the log
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ[settings["key_variable"]] = settings["api_key"]
    known = {"{host}": host, "{port}": str(port)}
    command = [known.get(part, part) for part in settings["command"]]
    try:
        os.execvp(command[0], command)  # noqa: S606 - a list, and no shell
    except OSError as exc:
        sys.exit(f"cannot start {command[0]}: {exc.strerror}")


def _watch(server: int, address: tuple[str, int], settings: dict[str, Any], reports: int) -> None:
    """Report the server when it is ready; end all of its session when the parent or it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    is_ready, asked_at = False, 0.0
    while os.getppid() == server:
        if select.select([0], [], [], POLL_S)[0] and not os.read(0, 4096):
            break
        if not is_ready and time.monotonic() - asked_at >= POLL_S:
            asked_at = time.monotonic()
            is_ready = _is_ready(address, settings)
            if is_ready:
                report = {"url": "http://{}:{}".format(*address)}
                os.write(reports, json.dumps(report).encode() + b"\n")
    with contextlib.suppress(ProcessLookupError):
        os.killpg(os.getpgid(0), signal.SIGKILL)


def _is_ready(address: tuple[str, int], settings: dict[str, Any]) -> bool:
    """Ask the server. One that loads refuses connections, or answers 503."""
    connection = http.client.HTTPConnection(*address, timeout=ANSWER_TIMEOUT_S)
    headers = {"Authorization": f"Bearer {settings['api_key']}"}
    with contextlib.closing(connection):
        try:
            connection.request("GET", settings["ready_path"], headers=headers)
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
