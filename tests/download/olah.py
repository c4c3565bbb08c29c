"""olah, a mirror nobody here wrote, as a process in front of a hub.

https://pypi.org/project/olah/ is installed once into an environment of its own, which is kept.
"""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

from tests.once import make_once

VERSION = "0.5.4"
START_TIMEOUT_S = 30.0


def install_olah(folder: Path) -> Path:
    """Return the program, installed below ``folder`` on first use.

    Raises subprocess.CalledProcessError when the package index does not give it.
    """
    environment = make_once(folder / f"olah-{VERSION}", _install)
    return environment / "bin/olah-cli"


def _install(environment: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    pip = [environment / "bin/python", "-m", "pip", "install", "--quiet", f"olah=={VERSION}"]
    subprocess.run(pip, check=True)


class Olah:
    """olah serving what ``hub_url`` serves, between ``with`` and its end; state in ``folder``."""

    def __init__(self, program: Path, hub_url: str, cdn_url: str, folder: Path) -> None:
        port = unused_port()
        self.url = f"http://127.0.0.1:{port}"
        self._port = port
        self._folder = folder
        self._command = [program, "--host", "127.0.0.1", "--port", str(port)]
        self._command += ["--hf-scheme", "http", "--hf-netloc", urlsplit(hub_url).netloc]
        self._command += ["--hf-lfs-netloc", urlsplit(cdn_url).netloc, "--repos-path", "repos"]

    def __enter__(self) -> "Olah":
        self._folder.mkdir(exist_ok=True)
        with (self._folder / "output").open("wb") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Of our own settings only what any program needs.
                env={name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ},
            )
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                self.__exit__(None, None, None)
                raise RuntimeError(f"olah does not start: {(self._folder / 'output').read_text()}")
            time.sleep(0.1)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()

    def _answers(self) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self._port)) == 0


def unused_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
