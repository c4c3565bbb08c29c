"""The loopback hub in a process of its own, so that its CPU time and memory are counted apart.

``HubProcess`` has the interface of ``LoopbackHub``. The two ends exchange pickled calls over a
socket pair; the child ends when its end closes, hence also when the parent is killed.
"""

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.hub.content import Content
from tests.hub.faults import Fault, Role
from tests.hub.hub import LoopbackHub
from tests.hub.log import RequestRecord
from tests.hub.repository import Repo
from tests.hub.server import Line
from tests.hub.tls import Authority

PROJECT_ROOT = Path(__file__).resolve().parents[2]
EXIT_TIMEOUT_S = 5.0


class HubProcess:
    """A LoopbackHub in a child process; takes the same arguments."""

    def __init__(self, repos: Iterable[Repo] = (), **options: Any) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="hub-")
        if options.get("tls") is True:
            options["tls"] = Authority.create(Path(self._folder.name))
        authority = options.get("tls")
        self.ca_file = authority.ca_file if isinstance(authority, Authority) else None
        self.url = self.cdn_url = ""
        self._setup = (list(repos), options)
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the child. Raises RuntimeError when it does not get as far as serving."""
        ours, theirs = socket.socketpair()
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.hub", "--control-fd", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            cwd=PROJECT_ROOT,
            # Measuring coverage would slow the hub down, not the program under test.
            env={k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")},
        )
        theirs.close()
        self._pipe = Connection(ours.detach())
        try:
            self._pipe.send(self._setup)
            self.url, self.cdn_url = self._pipe.recv()
        except (EOFError, OSError) as exc:
            self.close()
            raise RuntimeError(f"the hub's process ended with {self._child.returncode}") from exc

    def close(self) -> None:
        """End the child and wait for it."""
        self._pipe.close()
        try:
            self._child.wait(EXIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._folder.cleanup()

    def __enter__(self) -> "HubProcess":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _call(self, name: str, *args: object, **options: object) -> Any:
        with self._lock:
            self._pipe.send((name, args, options))
            result, error = self._pipe.recv()
        if error is not None:
            raise error
        return result

    @property
    def pid(self) -> int:
        return self._child.pid

    def cpu_seconds(self) -> float:
        """CPU time the child has used so far, user and system."""
        return float(self._call("cpu_seconds"))

    def add_fault(self, fault: Fault) -> None:
        self._call("add_fault", fault)

    def clear_faults(self) -> None:
        self._call("clear_faults")

    def refuse(self, role: Role) -> None:
        self._call("refuse", role)

    def revive(self, role: Role) -> None:
        self._call("revive", role)

    def set_line(self, role: Role, line: Line) -> None:
        self._call("set_line", role, line)

    def add_repo(self, repo: Repo) -> None:
        self._call("add_repo", repo)

    def commit(self, repo_id: str, files: Mapping[str, Content], *, replace: bool = False) -> str:
        return str(self._call("commit", repo_id, dict(files), replace=replace))

    @property
    def requests(self) -> list[RequestRecord]:
        records: list[RequestRecord] = self._call("requests")
        return records

    def bytes_sent(self, path: str | None = None, role: Role | None = None) -> int:
        return int(self._call("bytes_sent", path, role))

    def connections(self, role: Role | None = None) -> tuple[int, int, int]:
        open_now, peak, accepted = self._call("connections", role)
        return open_now, peak, accepted

    @property
    def connections_peak(self) -> int:
        return self.connections()[1]

    def reset(self) -> None:
        self._call("reset")


def serve_control(control_fd: int) -> None:
    """Run in the child: be the hub that the parent describes until the parent hangs up."""
    os.set_inheritable(control_fd, False)
    with Connection(control_fd) as pipe:
        repos, options = pipe.recv()
        with LoopbackHub(repos, **options) as hub:
            pipe.send((hub.url, hub.cdn_url))
            while True:
                try:
                    name, args, keywords = pipe.recv()
                except (EOFError, ConnectionResetError):
                    return
                pipe.send(answer_call(hub, name, args, keywords))


def answer_call(
    hub: LoopbackHub, name: str, args: tuple[Any, ...], keywords: dict[str, Any]
) -> tuple[Any, Exception | None]:
    """Do what the parent asks for; errors travel back to be raised there."""
    if name == "cpu_seconds":
        return time.process_time(), None
    try:
        member = getattr(hub, name)
        return (member(*args, **keywords) if callable(member) else member), None
    except Exception as exc:
        return None, exc
