"""The files of a repository's revision, with sizes and digests, from the hub's API.

``GET /api/models/{id}/revision/{rev}?blobs=true`` answers everything at once. It lists the files
of huge repositories only in part, and some mirrors leave sizes or digests out; then the paged
``/tree/{commit}?recursive=true`` is read instead.
API: https://huggingface.co/docs/hub/api
"""

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeGuard
from urllib.parse import urljoin

from qtool.errors import NetworkError, NotFoundError, QtoolError
from qtool.hub import modelscope
from qtool.hub.client import Answer, HubClient
from qtool.hub.endpoints import OFFICIAL_URL, HubApi
from qtool.hub.origin import Origin
from qtool.hub.repo import Listing, RemoteFile, RepoRef, RepoType

# A list of files as long as this may have been cut off by the hub.
SUSPICIOUS_COUNT = 1000
MAX_PAGES = 2000

_NEXT_PAGE = re.compile(r'<([^<>]+)>\s*;[^,]*\brel="?next"?', re.IGNORECASE)


def list_repo(client: HubClient, repo: RepoRef) -> Listing:
    """Return the files of ``repo`` at the commit its revision stands for now.

    The names are as the hub gives them: pass them through ``paths.check_path`` before writing.
    An endpoint that turns out to speak ModelScope's API is asked in it from then on.
    Raises NotFoundError, AuthError or NetworkError as the hub answers, NotFoundError also when
    the repository is empty.
    """
    if client.endpoint.api is HubApi.MODELSCOPE:
        return _list_modelscope(client, repo)
    try:
        return _list_hugging_face(client, repo)
    except NotFoundError:
        if client.endpoint.url == OFFICIAL_URL or repo.repo_type is not RepoType.MODEL:
            raise
        spoken = client.endpoint
        client.endpoint = replace(spoken, api=HubApi.MODELSCOPE)
        with contextlib.suppress(QtoolError):
            return _list_modelscope(client, repo)
        client.endpoint = spoken
        raise


def _list_hugging_face(client: HubClient, repo: RepoRef) -> Listing:
    info = client.get_json(client.endpoint.info_url(repo), repo)
    data = _expect(info.data, dict, client, "an object")
    commit = data.get("sha")
    if not _is_hex(commit, 40):
        raise _malformed(client, "no commit")
    try:
        files = files_of_info(data)
    except ValueError as exc:
        raise _malformed(client, str(exc)) from exc
    if files is None or len(files) >= SUSPICIOUS_COUNT:
        files = _read_tree(client, repo, commit)
    elif any(file.digest is None for file in files):
        with contextlib.suppress(QtoolError):
            complete = {file.path: file for file in _read_tree(client, repo, commit)}
            files = tuple(complete.get(file.path, file) for file in files)
    if not files and data.get("siblings") != []:
        raise _malformed(client, "no list of files")
    return _filled(client, Listing(repo, commit, files, is_gated=bool(data.get("gated"))))


def _list_modelscope(client: HubClient, repo: RepoRef) -> Listing:
    if repo.repo_type is not RepoType.MODEL:
        raise NotFoundError(
            f"{client.endpoint.url} is asked for models only, not for {repo.repo_type}s",
            hint="--endpoint https://huggingface.co",
        )
    answer = client.get_json(modelscope.files_url(client.endpoint.url, repo), repo)
    if modelscope.is_refusal(answer.data):
        raise NotFoundError(
            f"{client.endpoint.url} has no {repo.repo_id} at {repo.revision}",
            hint="--endpoint https://huggingface.co",
        )
    try:
        commit, files = modelscope.parse_files(answer.data)
    except ValueError as exc:
        raise _malformed(client, str(exc)) from exc
    return _filled(client, Listing(repo, commit, _unique(files)))


def _filled(client: HubClient, listing: Listing) -> Listing:
    if listing.files:
        return listing
    repo = listing.repo
    raise NotFoundError(
        f"{repo.repo_id} is empty: {client.endpoint.url} lists no file in it at {repo.revision}",
        hint=f"look at {client.endpoint.page_url(repo)}, or name another --revision",
    )


def files_of_info(data: Mapping[str, Any]) -> tuple[RemoteFile, ...] | None:
    """Return the files in a revision's metadata, None when any lacks its size.

    Raises ValueError for a digest that is none.
    """
    siblings = data.get("siblings")
    if not isinstance(siblings, list):
        return None
    files = []
    for entry in siblings:
        file = _file_of(entry, name_key="rfilename", oid_key="blobId", sha256_key="sha256")
        if file is None:
            return None
        files.append(file)
    return _unique(files)


def files_of_tree(entries: list[Any]) -> Iterator[RemoteFile]:
    """Yield the files of one page of a tree; folders are skipped.

    Raises ValueError when an entry is not what the API promises.
    """
    for entry in entries:
        if isinstance(entry, dict) and entry.get("type") == "directory":
            continue
        file = _file_of(entry, name_key="path", oid_key="oid", sha256_key="oid")
        if file is None:
            raise ValueError(f"a file without path or size: {entry!r:.200}")
        yield file


def next_page(answer: Answer) -> str | None:
    """Return the address of the page after this one, by its ``Link`` header."""
    match = _NEXT_PAGE.search(answer.headers.get("Link") or "")
    return urljoin(answer.url, match[1]) if match else None


def _read_tree(client: HubClient, repo: RepoRef, commit: str) -> tuple[RemoteFile, ...]:
    files: list[RemoteFile] = []
    url: str | None = client.endpoint.tree_url(repo, commit)
    seen: set[str] = set()
    while url is not None:
        if url in seen or len(seen) >= MAX_PAGES:
            raise _malformed(client, "pages that do not end")
        seen.add(url)
        answer = client.get_json(url, repo)
        try:
            files.extend(files_of_tree(_expect(answer.data, list, client, "a list")))
        except ValueError as exc:
            raise _malformed(client, str(exc)) from exc
        url = next_page(answer)
        # Some mirrors pass the hub's own addresses through.
        if url is not None and Origin.of(url) != Origin.of(client.endpoint.url):
            path = url.split("/api/", 1)
            url = f"{client.endpoint.url}/api/{path[1]}" if len(path) == 2 else url
    return _unique(files)


def _file_of(entry: Any, *, name_key: str, oid_key: str, sha256_key: str) -> RemoteFile | None:
    """Return a file, None without its name or size. Raises ValueError for a digest that is none."""
    if not isinstance(entry, dict) or not isinstance(path := entry.get(name_key), str):
        return None
    lfs = entry.get("lfs")
    if isinstance(lfs, dict):
        size, sha256 = lfs.get("size", entry.get("size")), lfs.get(sha256_key) or lfs.get("oid")
        if isinstance(sha256, str):
            sha256 = sha256.removeprefix("sha256:")
        digest = _digest(sha256, 64, path)
        return RemoteFile(path, size, sha256=digest) if _is_size(size) else None
    size, digest = entry.get("size"), _digest(entry.get(oid_key), 40, path)
    return RemoteFile(path, size, git_sha1=digest) if _is_size(size) else None


def _digest(value: Any, length: int, path: str) -> str | None:
    if value is None:
        return None
    if not _is_hex(value, length):
        raise ValueError(f"{value!r:.80} as the digest of {path!r:.200}")
    return value.lower()


def _is_size(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**50


def _is_hex(value: Any, length: int) -> TypeGuard[str]:
    return isinstance(value, str) and re.fullmatch(rf"[0-9a-fA-F]{{{length}}}", value) is not None


def _unique(files: list[RemoteFile]) -> tuple[RemoteFile, ...]:
    return tuple({file.path: file for file in files}.values())


def _expect(data: Any, kind: type, client: HubClient, words: str) -> Any:
    if not isinstance(data, kind):
        raise _malformed(client, f"not {words}")
    return data


def _malformed(client: HubClient, what: str) -> NetworkError:
    return NetworkError(
        f"{client.endpoint.url} answers its API in a form qtool does not know: {what}",
        hint="try another endpoint: --endpoint https://huggingface.co",
    )
