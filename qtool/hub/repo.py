"""A repository, a file in it, and the listing of a revision."""

from dataclasses import dataclass
from enum import StrEnum


class RepoType(StrEnum):
    """Kinds of repository; the value is what ``--repo-type`` takes."""

    MODEL = "model"
    DATASET = "dataset"

    @property
    def api_prefix(self) -> str:
        """Return the path of the hub's API for this kind, such as ``/api/models``."""
        return f"/api/{self.value}s"

    @property
    def page_prefix(self) -> str:
        """Return what stands before the repository's name in page and file URLs."""
        return "" if self is RepoType.MODEL else f"/{self.value}s"


@dataclass(frozen=True, slots=True)
class RepoRef:
    """A repository at a revision (branch, tag, ``refs/pr/1`` or commit)."""

    repo_id: str
    revision: str = "main"
    repo_type: RepoType = RepoType.MODEL


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file as the hub lists it.

    ``sha256`` is known for LFS files, ``git_sha1`` (of ``blob {size}\\0`` and the content) for the
    others. Both are lower-case hexadecimal.
    """

    path: str
    size_bytes: int
    sha256: str | None = None
    git_sha1: str | None = None

    @property
    def is_lfs(self) -> bool:
        """Return whether the content lies outside git and is known by its sha256."""
        return self.sha256 is not None

    @property
    def digest(self) -> str | None:
        """Return the digest that identifies the content; the hub uses the same string as ETag."""
        return self.sha256 or self.git_sha1


@dataclass(frozen=True, slots=True)
class Listing:
    """All files of one commit of a repository."""

    repo: RepoRef
    commit: str
    files: tuple[RemoteFile, ...]
    is_gated: bool = False

    @property
    def size_bytes(self) -> int:
        """Return the size of all files together."""
        return sum(file.size_bytes for file in self.files)
