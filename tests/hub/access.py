"""Who may see and read what, with the hub's own statuses and error codes."""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.hub.repository import Repo
from tests.hub.responses import Response, error_response
from tests.hub.wire import Request


class Refusal(Exception):
    """A request that ends in an error response."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


def refuse(status: int, message: str, code: str | None = None) -> Refusal:
    return Refusal(error_response(status, message, code))


@dataclass(frozen=True, slots=True)
class Gatekeeper:
    """Knows the tokens: a mapping from token to user name."""

    tokens: Mapping[str, str]

    def user(self, request: Request) -> str | None:
        """The user behind the request, None without a token. Raises Refusal for a wrong one."""
        header = request.headers.get("authorization")
        if header is None:
            return None
        scheme, _, token = header.partition(" ")
        if scheme != "Bearer" or token not in self.tokens:
            raise refuse(401, "Invalid credentials in Authorization header")
        return self.tokens[token]

    def check_visible(self, repo: Repo | None, user: str | None) -> Repo:
        """Private and missing repositories look alike; 401 invites to log in, 404 does not."""
        if repo is None or (repo.private and user not in repo.readers):
            if user is None:
                raise refuse(401, "Invalid username or password.", "RepoNotFound")
            raise refuse(404, "Repository not found", "RepoNotFound")
        return repo

    def check_readable(self, repo: Repo, user: str | None) -> None:
        """Gated repositories can be listed by everyone, but read only after a request."""
        if not repo.gated or user in repo.readers:
            return
        restricted = f"Access to {repo.repo_type} {repo.repo_id} is restricted"
        if user is None:
            raise refuse(
                401,
                f"{restricted}. You must have access to it and be authenticated to access it. "
                "Please log in.",
                "GatedRepo",
            )
        raise refuse(403, f"{restricted} and you are not in the authorized list.", "GatedRepo")
