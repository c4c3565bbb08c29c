import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from qtool.download import DownloadRequest, DownloadResult, download
from qtool.hub.endpoints import Endpoint, EndpointOrigin
from qtool.hub.repo import RepoRef
from tests.hub import LoopbackHub, Repo, read_content


@dataclass
class Fetcher:
    """Downloads ``org/name`` from a hub into a folder, and compares."""

    target: Path

    def __call__(self, *hubs: LoopbackHub, **options) -> DownloadResult:
        on_event = options.pop("on_event", None)
        stop = options.pop("stop", None)
        named = tuple(Endpoint(hub.url, EndpointOrigin.FLAG) for hub in hubs)
        endpoints = options.pop("endpoints", named)
        if "cache_dir" not in options:
            options.setdefault("local_dir", self.target)
        options.setdefault("repo", RepoRef("org/name"))
        request = DownloadRequest(endpoints=endpoints, **options)
        return download(request, on_event=on_event, stop=stop or threading.Event())

    def files(self) -> dict[str, bytes]:
        """Return what lies under final names."""
        return {
            str(path.relative_to(self.target)): path.read_bytes()
            for path in self.target.rglob("*")
            if path.is_file() and ".cache" not in path.relative_to(self.target).parts
        }

    def partial_files(self) -> list[str]:
        """Return the names of partial state."""
        folder = self.target / ".cache/qtool"
        return sorted(
            path.name
            for path in folder.rglob("*")
            if path.is_file() and path.parent.name in ("partial", "small")
        )


@pytest.fixture
def fetch(tmp_path: Path) -> Fetcher:
    return Fetcher(tmp_path / "target")


@pytest.fixture
def is_right() -> Callable[[Fetcher, Repo], bool]:
    """Return whether the target holds exactly the repository, and nothing half done."""

    def check(fetch: Fetcher, repo: Repo) -> bool:
        expected = {path: read_content(file.blob.content) for path, file in repo.head.files.items()}
        return fetch.files() == expected and fetch.partial_files() == []

    return check
