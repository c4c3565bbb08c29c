"""Other programs of the ecosystem find what was downloaded."""

import json
import subprocess
import sys

import pytest
from huggingface_hub import hf_hub_download, scan_cache_dir, try_to_load_from_cache

from qtool.download import FileStatus
from qtool.download.layout import CacheLayout
from qtool.errors import IntegrityError, UsageError
from qtool.hub.repo import Listing, RepoRef
from tests.hub import Generated, Repo, read_content

FILES = {
    "config.json": b"{}",
    "sub/m.safetensors": Generated(700_000),
    "twin.bin": b"same",
    "other/twin.bin": b"same",
    "empty": b"",
}


def test_cache_is_the_one_huggingface_hub_reads(hub_factory, fetch, tmp_path):
    repo = Repo("org/name", FILES)
    fetch(hub_factory([repo]), cache_dir=tmp_path / "hub")
    for path in FILES:
        found = try_to_load_from_cache("org/name", path, cache_dir=tmp_path / "hub")
        assert isinstance(found, str), path
        assert hf_hub_download("org/name", path, cache_dir=tmp_path / "hub", local_files_only=True)
    scanned = scan_cache_dir(tmp_path / "hub")
    assert scanned.warnings == []
    (cached,) = scanned.repos
    (revision,) = cached.revisions
    assert (revision.commit_hash, revision.refs) == (repo.sha, {"main"})


def test_second_run_on_the_cache_fetches_nothing(hub_factory, fetch, tmp_path):
    hub = hub_factory([Repo("org/name", FILES)])
    fetch(hub, cache_dir=tmp_path / "hub")
    hub.reset()
    result = fetch(hub, cache_dir=tmp_path / "hub")
    assert {file.status for file in result.files} == {FileStatus.SKIPPED}
    assert len(hub.requests) == 1


def test_new_commit_shares_the_blobs_of_the_old(hub_factory, fetch, tmp_path):
    hub = hub_factory([Repo("org/name", FILES)])
    fetch(hub, cache_dir=tmp_path / "hub")
    commit = hub.commit("org/name", {"config.json": b"[]"})
    hub.reset()
    result = fetch(hub, cache_dir=tmp_path / "hub")
    assert result.path.name == commit
    assert (result.path / "sub/m.safetensors").stat().st_size == 700_000
    assert result.bytes_transferred == 2


def test_commit_in_place_of_a_branch_needs_no_ref(hub_factory, fetch, tmp_path):
    repo = Repo("org/name", {"a": b"1"})
    fetch(hub_factory([repo]), repo=RepoRef("org/name", repo.sha), cache_dir=tmp_path / "hub")
    assert not (tmp_path / "hub/models--org--name/refs").exists()
    found = try_to_load_from_cache("org/name", "a", tmp_path / "hub", revision=repo.sha)
    assert isinstance(found, str)


HF = """
import json, sys
from huggingface_hub import snapshot_download
snapshot_download("org/name", local_dir=sys.argv[1])
"""


@pytest.mark.timeout(60)
def test_hf_download_finds_nothing_to_do(hub_factory, fetch, monkeypatch):
    hub = hub_factory([Repo("org/name", FILES)])
    fetch(hub)
    hub.reset()
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    done = subprocess.run(
        [sys.executable, "-c", HF, str(fetch.target)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert [r.target for r in hub.requests if r.path and r.method == "GET"] == []


def test_folder_keeps_its_state_out_of_git(hub_factory, fetch):
    fetch(hub_factory([Repo("org/name", {"a": b"1"})]))
    assert (fetch.target / ".cache/qtool/.gitignore").read_text() == "*\n"


def test_state_is_plain_data(hub_factory, fetch):
    fetch(hub_factory([Repo("org/name", {"a": b"1"})]))
    line = (fetch.target / ".cache/qtool/manifest").read_text().splitlines()[0]
    assert json.loads(line.partition(" ")[2])["path"] == "a"


@pytest.mark.parametrize("revision", ["/abs/x", "../x", "a/../../x", "", "a\nb"])
def test_revision_never_leaves_the_refs_of_a_cache(tmp_path, revision):
    with pytest.raises(UsageError):
        CacheLayout(tmp_path, Listing(RepoRef("org/name", revision), "c" * 40, ()))


def test_branch_with_slashes_is_noted_below_refs(hub_factory, fetch, tmp_path):
    repo = Repo("org/name", {"a": b"1"})
    hub = hub_factory([repo])
    fetch(hub, repo=RepoRef("org/name", repo.sha), cache_dir=tmp_path / "hub")
    layout = CacheLayout(tmp_path / "hub", Listing(RepoRef("org/name", "refs/pr/1"), repo.sha, ()))
    layout.finish()
    ref = tmp_path / "hub/models--org--name/refs/refs/pr/1"
    assert ref.read_text() == repo.sha


@pytest.mark.parametrize(
    "files",
    [
        {"x" * 255: b"1", "y" * 247: b"2", "d/" + "z" * 250: Generated(600_000)},
        {"a": b"1", "a.metadata/b": b"2"},
        {"a": b"1", "a.qtool-link": b"2", "a.qtool-new": b"3", "a.metadata": b"4"},
    ],
    ids=["long", "folder-like-a-note", "named-like-ours"],
)
@pytest.mark.parametrize("kind", ["folder", "cache"])
def test_odd_names_arrive_all_the_same(hub_factory, fetch, tmp_path, files, kind):
    target = {} if kind == "folder" else {"cache_dir": tmp_path / "hub"}
    repo = Repo("org/name", files)
    result = fetch(hub_factory([repo]), **target)
    assert result.failures == ()
    for path, file in repo.head.files.items():
        assert (result.path / path).read_bytes() == read_content(file.blob.content)


@pytest.mark.parametrize("name", ["", ".cache", ".cache/qtool"])
def test_file_in_place_of_a_folder_is_named_before_anything_is_written(hub_factory, fetch, name):
    path = fetch.target / name if name else fetch.target
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        fetch(hub_factory([Repo("org/name", {"a": b"1"})]))
    assert path.read_text() == "mine"
    assert not (fetch.target / "a").exists()


def test_names_that_differ_in_case_only_are_refused_where_they_are_one(hub_factory, fetch):
    hub = hub_factory([Repo("org/name", {"A.txt": b"1", "a.txt": b"2"})])
    state = fetch.target / ".cache/qtool"
    state.mkdir(parents=True)
    (state / "LOCK").touch()  # as a file system that does not tell cases apart would say
    with pytest.raises(IntegrityError, match="case"):
        fetch(hub)
    assert fetch.files() == {}
    (state / "LOCK").unlink()
    assert fetch(hub).failures == ()
