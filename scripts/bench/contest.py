"""Peers on the same errand, in turn: A B C, A B C, …, so that a busy machine is unfair to all."""

import hashlib
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from measure import Median, Sample, Usage, median_of, run_measured
from peers import CACHE, REPO_ID, Errand, Peer, environ_for, missing_programs

from tests.hub import Content, Generated, Repo
from tests.hub.content import Blob
from tests.hub.process import HubProcess

MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Contest:
    """An errand for several peers. ``hub_options`` are those of LoopbackHub.

    With ``is_done_before`` each peer runs once unmeasured, then again on what it has made.
    """

    title: str
    files: Mapping[str, Content]
    peers: Sequence[Peer]
    hub_options: Mapping[str, Any] = field(default_factory=dict)
    n_hubs: int = 1
    is_done_before: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of what is promised: ``measured`` is a text with the figure, ``limit`` another."""

    promise: str
    measured: str
    limit: str
    is_met: bool


@contextmanager
def hubs(contest: Contest) -> Iterator[list[HubProcess]]:
    """Serve the contest's files from processes of their own."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                HubProcess([Repo(REPO_ID, contest.files)], **dict(contest.hub_options))
            )
            for _ in range(contest.n_hubs)
        ]


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield an empty folder on the disk of the checkout, gone afterwards."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="run-") as folder:
        yield Path(folder)


def hold(contest: Contest, n_runs: int) -> dict[str, Median]:
    """Let every peer that is installed run ``n_runs`` times; return the medians by name."""
    absent = missing_programs()
    peers = [peer for peer in contest.peers if peer.name.split()[0] not in absent]
    samples: dict[str, list[Sample]] = {peer.name: [] for peer in peers}
    with hubs(contest) as servers:
        for number in range(n_runs):
            for peer in peers:
                if peer.max_runs is None or number < peer.max_runs:
                    samples[peer.name].append(_run(contest, peer, servers))
    return {name: median_of(runs) for name, runs in samples.items()}


def _run(contest: Contest, peer: Peer, servers: Sequence[HubProcess]) -> Sample:
    urls = [server.url for server in servers]
    with scratch() as folder:
        target = folder / "target"
        target.mkdir()
        environ = environ_for(urls, servers[0].ca_file, folder / "home")
        command = peer.command(Errand(urls, list(contest.files), target, servers[0].ca_file))
        if contest.is_done_before:
            run_measured(command, environ)
        for server in servers:
            server.reset()
        try:
            usage = run_measured(command, environ)
        except subprocess.TimeoutExpired as exc:
            usage = Usage(exc.timeout, 0.0, 0, -1, "no end in sight")
        if usage.exit_code:
            print(f"  {peer.name}: exit code {usage.exit_code}: {usage.complaint}", flush=True)
        requests = [record for server in servers for record in server.requests]
        return Sample(
            usage,
            sum(record.role == "hub" for record in requests),
            sum(server.bytes_sent() for server in servers),
            usage.exit_code == 0 and are_right(contest.files, target),
        )


def are_right(files: Mapping[str, Content], target: Path) -> bool:
    """Return whether the target holds the files, bit for bit."""
    return all(_is_right(content, target / path) for path, content in files.items())


def _is_right(content: Content, path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            actual = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return False
    return actual == _sha256(content)


@cache
def _sha256(content: Content) -> str:
    return Blob(content).sha256


def large(size_bytes: int) -> dict[str, Content]:
    """Return one model file."""
    return {"model.gguf": Generated(size_bytes)}


def small(count: int, size_bytes: int) -> dict[str, Content]:
    """Return many small files, all different."""
    return {f"part-{i:05}.txt": Generated(size_bytes, seed=i) for i in range(count)}
