"""Repositories as a hub keeps them: commits, branches, tags, LFS and plain files."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Literal

from tests.hub.content import Blob, Content

LFS_FROM_BYTES = 10_000_000
LFS_SUFFIXES = (
    *(".7z", ".arrow", ".bin", ".bz2", ".ckpt", ".ftz", ".gguf", ".gz", ".h5", ".joblib"),
    *(".model", ".msgpack", ".npy", ".npz", ".onnx", ".ot", ".parquet", ".pb", ".pickle"),
    *(".pkl", ".pt", ".pth", ".rar", ".safetensors", ".tar", ".tflite", ".tgz", ".wasm"),
    *(".xz", ".zip", ".zst"),
)
"""The suffixes of the hub's own default .gitattributes, and .gguf, which every GGUF repository
adds."""

Gating = Literal[False, "auto", "manual"]


@dataclass(frozen=True, slots=True)
class RepoFile:
    """One file of a commit."""

    path: str
    blob: Blob
    is_lfs: bool

    @property
    def size_bytes(self) -> int:
        return self.blob.size_bytes

    @property
    def pointer(self) -> bytes:
        """The text git stores in place of an LFS file."""
        return (
            "version https://git-lfs.github.com/spec/v1\n"
            f"oid sha256:{self.blob.sha256}\nsize {self.size_bytes}\n"
        ).encode()

    @property
    def oid(self) -> str:
        """The git object name: of the pointer for an LFS file, of the content for others."""
        return Blob(self.pointer).git_sha1 if self.is_lfs else self.blob.git_sha1

    @property
    def etag(self) -> str:
        return self.blob.sha256 if self.is_lfs else self.blob.git_sha1


class Commit:
    """A complete set of files; its sha follows from their paths and contents."""

    def __init__(self, files: Iterable[RepoFile]) -> None:
        self.files = {file.path: file for file in sorted(files, key=lambda file: file.path)}

    @cached_property
    def sha(self) -> str:
        tree = "".join(f"{file.etag} {path}\n" for path, file in self.files.items())
        return hashlib.sha1(tree.encode(), usedforsecurity=False).hexdigest()


def is_lfs_by_default(path: str, size_bytes: int) -> bool:
    """Decide as the hub does: by size, or by a suffix that stands for binary content."""
    return size_bytes > LFS_FROM_BYTES or PurePosixPath(path).suffix.lower() in LFS_SUFFIXES


class Repo:
    """A repository with its history.

    ``files`` maps paths to content; ``lfs`` overrides the choice between LFS and plain per path.
    ``readers`` names the users who may read a gated or private repository (see the hub's tokens).
    ``config`` is what the hub tells of config.json.
    """

    def __init__(
        self,
        repo_id: str,
        files: Mapping[str, Content],
        *,
        repo_type: Literal["model", "dataset"] = "model",
        gated: Gating = False,
        private: bool = False,
        readers: Iterable[str] = (),
        lfs: Mapping[str, bool] | None = None,
        tags: Iterable[str] = (),
        downloads: int = 0,
        config: Mapping[str, object] | None = None,
    ) -> None:
        self.repo_id = repo_id
        self.repo_type = repo_type
        self.gated = gated
        self.private = private
        self.readers = frozenset(readers)
        self.tags = tuple(tags)
        self.downloads = downloads
        self.config = config
        self._lfs = dict(lfs or {})
        self._commits: list[Commit] = []
        self._refs: dict[str, Commit] = {}
        self._add_commit(files, "main", replace=True)

    def commit(
        self, files: Mapping[str, Content], *, ref: str = "main", replace: bool = False
    ) -> str:
        """Add a commit that changes ``files`` (or consists of them) and move ``ref`` to it.

        Returns the sha of the commit.
        """
        return self._add_commit(files, ref, replace=replace).sha

    def _add_commit(self, files: Mapping[str, Content], ref: str, *, replace: bool) -> Commit:
        base = {} if replace or ref not in self._refs else self._refs[ref].files
        new = {path: self._file(path, content) for path, content in files.items()}
        commit = Commit((dict(base) | new).values())
        self._commits.append(commit)
        self._refs[ref] = commit
        return commit

    def hash_all(self) -> None:
        """Compute the hashes of all files now, so that no request has to wait for them."""
        for commit in self._commits:
            _ = commit.sha

    def tag(self, name: str, revision: str = "main") -> None:
        """Point another branch or tag, which may contain ``/``, at a revision."""
        commit = self.find(revision)
        if commit is None:
            raise KeyError(f"{self.repo_id} has no revision {revision!r}")
        self._refs[name] = commit

    def find(self, revision: str) -> Commit | None:
        """Look a revision up: a branch, a tag, a full sha, or at least 7 digits of one."""
        if revision in self._refs:
            return self._refs[revision]
        if len(revision) < 7:
            return None
        return next((c for c in self._commits if c.sha.startswith(revision)), None)

    @property
    def head(self) -> Commit:
        return self._refs["main"]

    @property
    def sha(self) -> str:
        return self.head.sha

    def find_blob(self, path: str, sha256: str) -> RepoFile | None:
        """The file of any commit with this path and content."""
        for commit in self._commits:
            file = commit.files.get(path)
            if file is not None and file.blob.sha256 == sha256:
                return file
        return None

    def file(self, path: str, revision: str = "main") -> RepoFile:
        """The file at a revision. Raises KeyError when there is none."""
        commit = self.find(revision)
        if commit is None:
            raise KeyError(f"{self.repo_id} has no revision {revision!r}")
        return commit.files[path]

    def _file(self, path: str, content: Content) -> RepoFile:
        blob = Blob(content)
        is_lfs = self._lfs.get(path)
        if is_lfs is None:
            is_lfs = is_lfs_by_default(path, blob.size_bytes)
        return RepoFile(path, blob, is_lfs)


def folder_files(root: Path) -> dict[str, Content]:
    """The files below a folder as a repository's, hidden ones left out."""
    relative = (path.relative_to(root) for path in sorted(root.rglob("*")) if path.is_file())
    return {
        path.as_posix(): root / path
        for path in relative
        if not any(part.startswith(".") for part in path.parts)
    }
