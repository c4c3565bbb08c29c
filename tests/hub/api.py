"""The JSON half of the hub: repository information and paged trees."""

import hashlib
import json
from collections.abc import Iterable
from urllib.parse import parse_qs, quote

from tests.hub.repository import Commit, Repo, RepoFile
from tests.hub.responses import Response, json_response
from tests.hub.wire import Request

LAST_MODIFIED = "2026-01-02T03:04:05.000Z"


def lfs_entry(file: RepoFile, hash_name: str) -> dict[str, object]:
    return {
        hash_name: file.blob.sha256,
        "size": file.size_bytes,
        "pointerSize": len(file.pointer),
    }


def repo_info(repo: Repo, commit: Commit, *, with_blobs: bool) -> dict[str, object]:
    """The document of ``/api/models/{id}``; ``with_blobs`` adds sizes and hashes of the files."""
    key = hashlib.sha1(repo.repo_id.encode(), usedforsecurity=False).hexdigest()[:24]
    id_fields = {"modelId": repo.repo_id} if repo.repo_type == "model" else {}
    return {
        "_id": key,
        "id": repo.repo_id,
        **id_fields,
        "author": repo.repo_id.rpartition("/")[0],
        "sha": commit.sha,
        "lastModified": LAST_MODIFIED,
        "createdAt": LAST_MODIFIED,
        "private": repo.private,
        "gated": repo.gated,
        "disabled": False,
        "downloads": repo.downloads,
        "likes": 0,
        "tags": list(repo.tags),
        **({"config": dict(repo.config)} if repo.config is not None else {}),
        "siblings": [_sibling(file, with_blobs) for file in commit.files.values()],
    }


def _sibling(file: RepoFile, with_blobs: bool) -> dict[str, object]:
    if not with_blobs:
        return {"rfilename": file.path}
    entry: dict[str, object] = {
        "rfilename": file.path,
        "size": file.size_bytes,
        "blobId": file.oid,
    }
    return entry | ({"lfs": lfs_entry(file, "sha256")} if file.is_lfs else {})


def tree_entries(commit: Commit, folder: str, *, recursive: bool) -> list[dict[str, object]]:
    """Entries below a folder ("" is the top), folders included, sorted by path.

    Raises KeyError when there is nothing at that path.
    """
    prefix = f"{folder}/" if folder else ""
    entries: dict[str, dict[str, object]] = {}
    for path, file in commit.files.items():
        if not path.startswith(prefix):
            continue
        parts = path[len(prefix) :].split("/")
        for depth in range(1, len(parts)):
            parent = prefix + "/".join(parts[:depth])
            if depth == 1 or recursive:
                entries.setdefault(parent, _folder_entry(parent))
        if len(parts) == 1 or recursive:
            entries[path] = _file_entry(file)
    if not entries and folder:
        raise KeyError(folder)
    return [entries[path] for path in sorted(entries)]


def _folder_entry(path: str) -> dict[str, object]:
    oid = hashlib.sha1(path.encode(), usedforsecurity=False).hexdigest()
    return {"type": "directory", "oid": oid, "size": 0, "path": path}


def _file_entry(file: RepoFile) -> dict[str, object]:
    entry: dict[str, object] = {
        "type": "file",
        "oid": file.oid,
        "size": file.size_bytes,
        "path": file.path,
    }
    return entry | ({"lfs": lfs_entry(file, "oid")} if file.is_lfs else {})


def read_wanted_paths(request: Request) -> list[str]:
    """The paths that a question of ``paths-info`` is about, sent as JSON or as a form."""
    if request.headers.get("content-type", "").startswith("application/json"):
        return list(json.loads(request.body).get("paths", []))
    return parse_qs(request.body.decode()).get("paths", [])


def paths_info(commit: Commit, paths: Iterable[str]) -> list[dict[str, object]]:
    """Entries of the named files; names of nothing are passed over."""
    return [_file_entry(commit.files[path]) for path in paths if path in commit.files]


def expand_entry(entry: dict[str, object], commit: Commit) -> dict[str, object]:
    """Add what ``expand=true`` adds."""
    last = {"id": commit.sha, "title": "Upload files", "date": LAST_MODIFIED}
    safe = {"status": "safe", "fileSecurityStatus": "safe"}
    return entry | {"lastCommit": last} | ({"securityFileStatus": safe} if "lfs" in entry else {})


def page_response(
    entries: list[dict[str, object]], request: Request, base_url: str, page_size: int
) -> Response:
    """One page of a listing; a Link header leads to the next (RFC 8288)."""
    query = request.query
    start = int(query.get("cursor") or 0)
    size = min(page_size, int(query.get("limit") or page_size))
    headers = []
    if start + size < len(entries):
        following = query | {"cursor": str(start + size)}
        pairs = "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in following.items())
        headers.append(("Link", f'<{base_url}{request.path}?{pairs}>; rel="next"'))
    return json_response(entries[start : start + size], headers=headers)


def whoami(user: str) -> dict[str, object]:
    return {
        "type": "user",
        "id": hashlib.sha1(user.encode(), usedforsecurity=False).hexdigest()[:24],
        "name": user,
        "fullname": user.title(),
        "email": f"{user}@example.org",
        "emailVerified": True,
        "isPro": False,
        "orgs": [],
        "auth": {"type": "access_token", "accessToken": {"displayName": "test", "role": "read"}},
    }
