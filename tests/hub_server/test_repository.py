"""Commits, revisions, and the choice between LFS and plain files."""

import hashlib

import pytest

from tests.hub import Generated, Repo


def test_commit_changes_the_sha_and_keeps_other_files() -> None:
    repo = Repo("org/name", {"a.txt": b"1", "b.txt": b"2"})
    before = repo.sha
    after = repo.commit({"a.txt": b"3"})
    assert before != after == repo.sha
    assert sorted(repo.head.files) == ["a.txt", "b.txt"]
    assert repo.file("a.txt", before).blob.content == b"1"


def test_equal_content_gives_an_equal_commit() -> None:
    assert Repo("org/a", {"x": b"1"}).sha == Repo("org/b", {"x": b"1"}).sha


def test_revisions_are_found_by_branch_tag_and_sha() -> None:
    repo = Repo("org/name", {"a.txt": b"1"})
    repo.tag("release/v1.0")
    old = repo.sha
    repo.commit({"a.txt": b"2"})
    for revision in ("release/v1.0", old, old[:7]):
        commit = repo.find(revision)
        assert commit is not None
        assert commit.sha == old
    assert repo.find(old[:6]) is None
    assert repo.find("nowhere") is None


@pytest.mark.parametrize(
    ("path", "size", "is_lfs"),
    [
        ("config.json", 100, False),
        ("tokenizer.json", 11_000_000, True),
        ("tiny.safetensors", 3, True),
        ("MODEL.GGUF", 3, True),
    ],
)
def test_lfs_is_decided_by_size_and_suffix(path: str, size: int, is_lfs: bool) -> None:
    assert Repo("org/name", {path: Generated(size)}).file(path).is_lfs is is_lfs


def test_lfs_can_be_overridden() -> None:
    repo = Repo("org/name", {"a.bin": b"x", "b.txt": b"y"}, lfs={"a.bin": False, "b.txt": True})
    assert not repo.file("a.bin").is_lfs
    assert repo.file("b.txt").etag == hashlib.sha256(b"y").hexdigest()
