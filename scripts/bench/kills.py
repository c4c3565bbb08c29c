"""Kill -9 in mid-download, start again: how many bytes are sent in all, and is the file right?"""

import random
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from contest import Contest, are_right, hubs, scratch
from measure import TIMEOUT_S
from peers import Errand, Peer, environ_for

from tests.hub.process import HubProcess

_POLL_S = 0.004


@dataclass(frozen=True, slots=True)
class Survival:
    """What came of a download that was killed. ``factor``: bytes sent over bytes of the file."""

    factor: float
    is_right: bool
    orphans: tuple[str, ...]


def kill_and_resume(contest: Contest, peer: Peer, moments: Sequence[float]) -> Survival:
    """Kill at each moment, given as the share of all bytes that has been sent; then let it end."""
    with hubs(contest) as (server,), scratch() as folder:
        target = folder / "target"
        target.mkdir()
        errand = Errand([server.url], list(contest.files), target, server.ca_file)
        command = peer.command(errand)
        environ = environ_for([server.url], server.ca_file, folder / "home")
        size_bytes = sum(content.size_bytes for content in contest.files.values())  # type: ignore[union-attr]
        for moment in sorted(moments):
            _run_until(command, environ, server, moment * size_bytes)
        _run_until(command, environ, server, None)
        factor = server.bytes_sent(role="cdn") / size_bytes
        return Survival(factor, are_right(contest.files, target), _orphans(contest, target))


def random_moments(count: int, seed: int) -> list[float]:
    """Return moments between the first bytes and the last."""
    source = random.Random(seed)
    return sorted(source.uniform(0.02, 0.98) for _ in range(count))


def _run_until(
    command: Sequence[str], environ: dict[str, str], server: HubProcess, n_bytes: float | None
) -> None:
    """Run until so many bytes were sent, then kill; to the end with None."""
    deadline_s = time.monotonic() + TIMEOUT_S
    quiet = subprocess.DEVNULL
    child = subprocess.Popen(command, env=environ, stdin=quiet, stdout=quiet, stderr=quiet)
    try:
        while child.poll() is None and time.monotonic() < deadline_s:
            if n_bytes is not None and server.bytes_sent(role="cdn") >= n_bytes:
                return
            time.sleep(_POLL_S)
    finally:
        child.kill()
        child.wait()


def _orphans(contest: Contest, target: Path) -> tuple[str, ...]:
    """Return partial files left behind: anything large that is no file of the repository."""
    left = (path.relative_to(target) for path in target.rglob("*") if path.is_file())
    large = (path for path in left if (target / path).stat().st_size > 1 << 20)
    return tuple(path.as_posix() for path in large if path.as_posix() not in contest.files)
