"""The same repositories in ModelScope's API: one listing with sha256, files by query or resolve.

Routes and field names as the ``modelscope`` package uses them (its ``hub/api.py`` and
``hub/file_download.py``); the default branch is called ``master``.
"""

from dataclasses import dataclass
from pathlib import PurePosixPath

from tests.hub.access import Refusal
from tests.hub.repository import Commit, Repo, RepoFile
from tests.hub.responses import FilePart, Response, file_response, json_response, redirect_response
from tests.hub.site import HubSite, segments_of
from tests.hub.wire import Request

COMMITTED_DATE = 1_767_323_045
NOT_FOUND_CODE = 10010205001


def envelope(data: object) -> Response:
    return json_response(
        {"Code": 200, "Data": data, "Message": "success", "RequestId": "0", "Success": True}
    )


def not_found(message: str) -> Refusal:
    document = {"Code": NOT_FOUND_CODE, "Message": message, "RequestId": "0", "Success": False}
    return Refusal(json_response(document, 404))


@dataclass(frozen=True, slots=True)
class ModelScopeSite:
    """Routes ModelScope's requests to the repositories of a hub."""

    hub: HubSite

    def respond(self, request: Request) -> Response:
        """Answer a request. Raises Refusal for error responses."""
        query = request.query
        match segments_of(request.path):
            case ["api", "v1", "models", owner, name, "repo", "files"]:
                commit = self._commit(owner, name, query.get("Revision", "master"))
                return self._list(commit, query)
            case ["api", "v1", "models", owner, name, "repo"]:
                revision, path = query.get("Revision", "master"), query.get("FilePath", "")
                return self._file(request, owner, name, revision, path)
            case ["models", owner, name, "resolve", revision, *parts]:
                return self._file(request, owner, name, revision, "/".join(parts))
        raise not_found("page not found")

    def _repo(self, owner: str, name: str) -> Repo:
        repo = self.hub.find_repo("model", f"{owner}/{name}")
        if repo is None or repo.private:
            raise not_found(f"model {owner}/{name} not found")
        return repo

    def _commit(self, owner: str, name: str, revision: str) -> Commit:
        commit = self._repo(owner, name).find("main" if revision == "master" else revision)
        if commit is None:
            raise not_found(f"revision {revision} not found")
        return commit

    def _list(self, commit: Commit, query: dict[str, str]) -> Response:
        folder = query.get("Root", "").strip("/")
        prefix = f"{folder}/" if folder else ""
        is_recursive = query.get("Recursive", "").lower() == "true"
        entries = []
        folders = set()
        for path, file in commit.files.items():
            rest = PurePosixPath(path.removeprefix(prefix))
            if not path.startswith(prefix):
                continue
            folders |= {prefix + parent.as_posix() for parent in rest.parents if parent.name}
            entries.append(blob_entry(file, commit))
        entries += [tree_entry(path, commit) for path in sorted(folders)]
        if not is_recursive:
            entries = [e for e in entries if "/" not in str(e["Path"]).removeprefix(prefix)]
        return envelope({"Files": entries, "IsVisual": 0})

    def _file(self, request: Request, owner: str, name: str, revision: str, path: str) -> Response:
        file = self._commit(owner, name, revision).files.get(path)
        if file is None:
            raise not_found(f"file {path} not found")
        repo_id, size = f"{owner}/{name}", file.size_bytes
        whole = FilePart(repo_id, path, file.blob.content, size, 0, size)
        if not file.is_lfs:
            return file_response(request, whole, file.blob.sha256, [])
        link = self.hub.signer.link(self.hub.cdn_url, repo_id, file)
        response = redirect_response(link, 302)
        response.part = file_response(request, whole, file.etag, []).part or whole
        response.carries_part = False
        return response


def blob_entry(file: RepoFile, commit: Commit) -> dict[str, object]:
    return tree_entry(file.path, commit) | {
        "Type": "blob",
        "Mode": "33188",
        "Size": file.size_bytes,
        "Sha256": file.blob.sha256,
        "IsLFS": file.is_lfs,
    }


def tree_entry(path: str, commit: Commit) -> dict[str, object]:
    return {
        "Type": "tree",
        "Mode": "16384",
        "Name": path.rpartition("/")[2],
        "Path": path,
        "Size": 0,
        "Sha256": "",
        "IsLFS": False,
        "Revision": commit.sha,
        "CommittedDate": COMMITTED_DATE,
        "CommitMessage": "Upload files",
        "CommitterName": "test",
        "InCheck": False,
    }
