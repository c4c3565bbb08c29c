"""ModelScope's API: the same models as on the Hugging Face hub, under routes of its own.

One listing holds the sha256 of every file, small ones too. The default branch is ``master``.
Routes and fields as in the ``modelscope`` package:
https://github.com/modelscope/modelscope/blob/master/modelscope/hub/api.py
"""

import hashlib
import re
from typing import Any
from urllib.parse import quote, urlencode

from qtool.hub.repo import RemoteFile, RepoRef

_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def files_url(base_url: str, repo: RepoRef) -> str:
    """Return the URL of a revision's list of files."""
    query = urlencode({"Revision": revision_of(repo), "Recursive": "true"})
    return f"{_repo_url(base_url, repo)}/files?{query}"


def file_url(base_url: str, repo: RepoRef, path: str) -> str:
    """Return the URL of a file's content."""
    query = urlencode({"Revision": revision_of(repo), "FilePath": path}, quote_via=quote)
    return f"{_repo_url(base_url, repo)}?{query}"


def revision_of(repo: RepoRef) -> str:
    """Return what the revision is called there."""
    return "master" if repo.revision == "main" else repo.revision


def parse_files(data: Any) -> tuple[str, list[RemoteFile]]:
    """Return commit and files of a listing.

    The listing does not name its commit: the one that changed a file last stands for it.
    Raises ValueError when the listing is not what the API promises.
    """
    try:
        entries: list[dict[str, Any]] = [
            entry for entry in data["Data"]["Files"] if entry["Type"] != "tree"
        ]
        files = [_file_of(entry) for entry in entries]
        latest = max(entries, key=lambda entry: entry.get("CommittedDate") or 0, default=None)
    except (KeyError, TypeError, AttributeError) as exc:
        raise ValueError(f"no list of files: {exc!r}") from exc
    return _commit_of(latest and latest.get("Revision"), files), files


def is_refusal(data: Any) -> bool:
    """Return whether an answer with status 200 says that there is no such thing."""
    return isinstance(data, dict) and (data.get("Success") is False or data.get("Data") is None)


def _file_of(entry: dict[str, Any]) -> RemoteFile:
    path, size = entry["Path"], entry["Size"]
    is_size = isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 2**50
    if not isinstance(path, str) or not is_size:
        raise ValueError(f"a file without path or size: {entry!r:.200}")
    sha256 = str(entry.get("Sha256") or "").lower()
    if sha256 and not _SHA256.fullmatch(sha256):
        raise ValueError(f"{sha256!r:.80} as the digest of {path!r:.200}")
    return RemoteFile(path, size, sha256=sha256 or None)


def _commit_of(revision: object, files: list[RemoteFile]) -> str:
    if isinstance(revision, str) and _COMMIT.fullmatch(revision):
        return revision
    content = "".join(f"{file.sha256} {file.size_bytes} {file.path}\n" for file in files)
    return hashlib.sha1(content.encode(), usedforsecurity=False).hexdigest()


def _repo_url(base_url: str, repo: RepoRef) -> str:
    return f"{base_url}/api/v1/models/{quote(repo.repo_id)}/repo"
