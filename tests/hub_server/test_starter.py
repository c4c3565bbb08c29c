"""The repository around the starter model."""

from pathlib import Path

from tests.hub import starter_repo
from tests.hub.fixtures import HubFactory
from tests.hub_server.client import cdn_link, fetch


def test_starter_repository_serves_its_model_at_the_pinned_revision(
    hub_factory: HubFactory, tmp_path: Path
) -> None:
    gguf = tmp_path / "SmolLM2-135M-Instruct.Q4_1.gguf"
    gguf.write_bytes(b"GGUF" + bytes(1000))
    hub = hub_factory([starter_repo(gguf, "org/starter", revision="ab" * 20)])
    link = cdn_link(f"{hub.url}/org/starter/resolve/{'ab' * 20}/{gguf.name}")
    assert fetch(link).body == gguf.read_bytes()
    siblings = fetch(f"{hub.url}/api/models/org/starter").document["siblings"]
    assert len(siblings) == 4
