"""``qtool download org/name`` as a process that tests can look at and signal while it runs."""

import os
import subprocess
import sys
from pathlib import Path

PROJECT_ROOT = Path(__file__).parents[2]


def start_download(hub, folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    """Return a download from ``hub`` into ``folder``, just started."""
    return subprocess.Popen(
        [sys.executable, "-m", "qtool", "download", "org/name", *arguments],
        env={**os.environ, "HF_ENDPOINT": hub.url, "PYTHONPATH": str(PROJECT_ROOT)},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
