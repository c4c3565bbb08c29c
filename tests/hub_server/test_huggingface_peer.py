"""huggingface_hub, which nobody here wrote, takes this hub for a real one."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.hub import Content, Generated, LoopbackHub, Repo, read_content
from tests.hub.fixtures import HubFactory

WEIGHTS = Generated(1_500_000, seed=4)
FILES: dict[str, Content] = {
    "config.json": b'{"a": 1}',
    "model.safetensors": WEIGHTS,
    "sub/空 格 #1%.txt": b"names",
    "empty.txt": b"",
}
SCRIPT = """
import json, os, sys
import huggingface_hub as hf
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

api = hf.HfApi()
info = api.model_info("org/name", files_metadata=True)
tree = [entry.path for entry in api.list_repo_tree("org/name", recursive=True)]
folder = hf.snapshot_download("org/name")
data = hf.hf_hub_download("org/data", "a.csv", repo_type="dataset", revision="v1.0")

def failure(kind, action):
    try:
        action()
    except kind:
        return kind.__name__

result = {
    "sha": info.sha,
    "siblings": {s.rfilename: [s.size, s.blob_id, s.lfs and s.lfs.sha256] for s in info.siblings},
    "tree": tree,
    "folder": folder,
    "data": data,
    "missing": failure(RepositoryNotFoundError, lambda: api.model_info("org/missing")),
    "revision": failure(
        RevisionNotFoundError, lambda: api.model_info("org/name", revision="nowhere")),
    "gated": failure(GatedRepoError, lambda: hf.hf_hub_download("org/gated", "model.bin")),
    "with_token": hf.hf_hub_download("org/gated", "model.bin", token="hf_ada"),
    "whoami": api.whoami("hf_ada")["name"],
}
print(json.dumps(result))
"""


@pytest.fixture(scope="module")
def repo() -> Repo:
    return Repo("org/name", FILES)


def run_peer(hub: LoopbackHub, home: Path) -> dict[str, Any]:
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "SSL_CERT_FILE": str(hub.ca_file),
    }
    command = [sys.executable, "-c", SCRIPT]
    child = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert child.returncode == 0, child.stderr
    found: dict[str, Any] = json.loads(child.stdout)
    return found


def test_huggingface_hub_lists_downloads_and_is_refused(
    hub_factory: HubFactory, repo: Repo, tmp_path: Path
) -> None:
    data = Repo("org/data", {"a.csv": b"old"}, repo_type="dataset")
    data.tag("v1.0")
    data.commit({"a.csv": b"new"})
    gated = Repo("org/gated", {"model.bin": b"secret"}, gated="auto", readers=["ada"])
    hub = hub_factory([repo, data, gated], tls=True, tokens={"hf_ada": "ada"}, page_size=2)

    result = run_peer(hub, tmp_path)

    assert result["sha"] == repo.sha
    for path, file in repo.head.files.items():
        sha256 = file.blob.sha256 if file.is_lfs else None
        assert result["siblings"][path] == [file.size_bytes, file.oid, sha256]
        downloaded = Path(result["folder"], path).read_bytes()
        assert downloaded == read_content(file.blob.content)
    assert set(result["tree"]) == {*FILES, "sub"}
    assert Path(result["data"]).read_bytes() == b"old"
    assert Path(result["with_token"]).read_bytes() == b"secret"
    assert (result["missing"], result["revision"]) == (
        "RepositoryNotFoundError",
        "RevisionNotFoundError",
    )
    assert (result["gated"], result["whoami"]) == ("GatedRepoError", "ada")
    assert not [r for r in hub.requests if r.role == "cdn" and r.has_authorization]
