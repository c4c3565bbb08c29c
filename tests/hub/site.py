"""The hub's own host: routes of the API and of ``resolve``."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import unquote

from tests.hub.access import Gatekeeper, refuse
from tests.hub.api import (
    expand_entry,
    page_response,
    paths_info,
    read_wanted_paths,
    repo_info,
    tree_entries,
    whoami,
)
from tests.hub.cdn import LinkSigner
from tests.hub.repository import Commit, Repo, RepoFile
from tests.hub.responses import (
    FilePart,
    Headers,
    Response,
    file_response,
    json_response,
    redirect_response,
)
from tests.hub.wire import Request

EXPAND_PAGE_SIZE = 50
API_VERBS = ("revision", "tree", "paths-info")


class HubStyle(StrEnum):
    """Whose manners the hub has."""

    HUGGINGFACE = "huggingface"
    MODELSCOPE = "modelscope"  # another API altogether, see modelscope.py
    OLAH = "olah"  # a mirror that answers 200 itself and knows no X-Linked headers


@dataclass(slots=True)
class HubSite:
    """Routes requests to repositories. ``hub_url`` and ``cdn_url`` are known once ports are."""

    repos: list[Repo]
    gatekeeper: Gatekeeper
    signer: LinkSigner
    style: HubStyle = HubStyle.HUGGINGFACE
    page_size: int = 1000
    has_xet: bool = False
    hub_url: str = ""
    cdn_url: str = ""
    _trees: dict[tuple[str, str, bool], list[dict[str, object]]] = field(default_factory=dict)

    def respond(self, request: Request) -> Response:
        """Answer a request. Raises Refusal for the hub's error responses."""
        is_question = request.method == "POST" and "/paths-info/" in request.path
        if request.method not in ("GET", "HEAD") and not is_question:
            raise refuse(405, f"{request.method} is not allowed")
        segments = request.path.strip("/").split("/")
        user = self.gatekeeper.user(request)
        match segments:
            case ["api", "whoami-v2"]:
                if user is None:
                    raise refuse(401, "Invalid username or password.")
                return json_response(whoami(user))
            case ["api", ("models" | "datasets") as plural]:
                return self._search(request, plural[:-1])
            case ["api", ("models" | "datasets") as plural, *rest]:
                return self._api(request, plural[:-1], rest, user)
            case ["datasets", *rest] if "resolve" in rest:
                return self._resolve(request, "dataset", rest, user)
            case _ if "resolve" in segments:
                return self._resolve(request, "model", segments, user)
        raise refuse(404, "Sorry, we can't find the page you are looking for.")

    def find_repo(self, repo_type: str, repo_id: str) -> Repo | None:
        return next(
            (r for r in self.repos if (r.repo_type, r.repo_id) == (repo_type, repo_id)), None
        )

    def find_file(self, repo_id: str, path: str, sha256: str) -> RepoFile | None:
        """The file a signed link stands for, in whichever commit it is."""
        candidates = (
            repo.find_blob(path, sha256) for repo in self.repos if repo.repo_id == repo_id
        )
        return next((file for file in candidates if file is not None), None)

    def _visible(self, repo_type: str, segments: list[str], user: str | None) -> Repo:
        repo_id = unquote("/".join(segments))
        return self.gatekeeper.check_visible(self.find_repo(repo_type, repo_id), user)

    def _search(self, request: Request, repo_type: str) -> Response:
        query = request.query
        wanted_tags = {tag for tag in query.get("filter", "").split(",") if tag}
        words = query.get("search", "").lower().split()
        found = [
            repo_info(repo, repo.head, with_blobs=False)
            for repo in self.repos
            if repo.repo_type == repo_type
            and not repo.private
            and all(word in repo.repo_id.lower() for word in words)
            and query.get("author", "") in ("", repo.repo_id.partition("/")[0])
            and wanted_tags <= set(repo.tags)
        ]
        if query.get("sort") == "downloads":
            found.sort(key=lambda info: -info["downloads"])
        return page_response(found, request, self.hub_url, self.page_size)

    def _api(
        self, request: Request, repo_type: str, segments: list[str], user: str | None
    ) -> Response:
        verb_at = next((i for i, s in enumerate(segments) if s in API_VERBS), None)
        repo = self._visible(repo_type, segments[:verb_at], user)
        if verb_at is None or segments[verb_at] == "revision":
            revision = "/".join(segments[verb_at + 1 :]) if verb_at else "main"
            commit = find_commit(repo, unquote(revision))
            with_blobs = request.query.get("blobs", "").lower() in ("1", "true")
            return json_response(repo_info(repo, commit, with_blobs=with_blobs))
        if segments[verb_at] == "paths-info":
            commit = find_commit(repo, unquote("/".join(segments[verb_at + 1 :])))
            return json_response(paths_info(commit, read_wanted_paths(request)))
        is_top = len(segments) == verb_at + 2 and not request.path.endswith("/")
        if self.style is HubStyle.OLAH and is_top:
            query = request.target[len(request.path) :]
            return redirect_response(f"{self.hub_url}{request.path}/{query}", 307)
        return self._tree(request, repo, segments[verb_at + 1 :])

    def _tree(self, request: Request, repo: Repo, segments: list[str]) -> Response:
        commit, folder = split_revision(repo, segments)
        recursive = request.query.get("recursive", "").lower() in ("1", "true")
        key = (commit.sha, folder, recursive)
        if key not in self._trees:
            try:
                self._trees[key] = tree_entries(commit, folder, recursive=recursive)
            except KeyError:
                raise refuse(
                    404, f"{folder} does not exist on this tree", "EntryNotFound"
                ) from None
        entries = self._trees[key]
        page_size = self.page_size
        if request.query.get("expand", "").lower() in ("1", "true"):
            page_size = min(page_size, EXPAND_PAGE_SIZE)
            entries = [expand_entry(entry, commit) for entry in entries]
        return page_response(entries, request, self.hub_url, page_size)

    def _resolve(
        self, request: Request, repo_type: str, segments: list[str], user: str | None
    ) -> Response:
        verb_at = segments.index("resolve")
        repo = self._visible(repo_type, segments[:verb_at], user)
        self.gatekeeper.check_readable(repo, user)
        commit, path = split_revision(repo, segments[verb_at + 1 :])
        file = commit.files.get(path)
        if file is None:
            raise refuse(404, "Entry not found", "EntryNotFound")
        size = file.size_bytes
        whole = FilePart(repo.repo_id, path, file.blob.content, size, 0, size)
        if self.style is HubStyle.OLAH:
            return file_response(request, whole, file.etag, [])
        headers: Headers = [("X-Repo-Commit", commit.sha)]
        if not file.is_lfs:
            return file_response(request, whole, file.etag, headers)
        headers += self._linked_headers(repo, file)
        asked = file_response(request, whole, file.etag, []).part or whole
        response = redirect_response(
            self.signer.link(self.cdn_url, repo.repo_id, file), 302, headers
        )
        response.part, response.carries_part = asked, False
        return response

    def _linked_headers(self, repo: Repo, file: RepoFile) -> Headers:
        headers = [
            ("Accept-Ranges", "bytes"),
            ("X-Linked-Size", str(file.size_bytes)),
            ("X-Linked-ETag", f'"{file.etag}"'),
            ("ETag", f'"{file.etag}"'),
        ]
        if self.has_xet:
            # A content-addressed store at a port where nothing listens.
            digest = hashlib.sha256(b"xet" + file.blob.sha256.encode()).hexdigest()
            route = f"http://127.0.0.1:9/api/{repo.repo_type}s/{repo.repo_id}/xet-read-token/main"
            headers += [
                ("X-Xet-Hash", digest),
                (
                    "Link",
                    f'<{route}>; rel="xet-auth", <{route}/{digest}>; rel="xet-reconstruction-info"',
                ),
            ]
        return headers


def segments_of(path: str) -> list[str]:
    """Split a percent-encoded path; a slash that was encoded stays inside its segment."""
    return [unquote(segment) for segment in path.strip("/").split("/")]


def find_commit(repo: Repo, revision: str) -> Commit:
    commit = repo.find(revision)
    if commit is None:
        raise refuse(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    return commit


def split_revision(repo: Repo, segments: Iterable[str]) -> tuple[Commit, str]:
    """Part ``{revision}/{path}``, where a revision's own slashes may be encoded or not."""
    parts = [unquote(segment) for segment in segments if segment]
    for count in range(1, len(parts) + 1):
        commit = repo.find("/".join(parts[:count]))
        if commit is not None:
            return commit, "/".join(parts[count:])
    raise refuse(404, f"Invalid rev id: {parts[0] if parts else ''}", "RevisionNotFound")
