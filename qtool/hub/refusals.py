"""What a hub's refusal means for the user: HTTP status and ``X-Error-Code`` to our exceptions.

Codes: https://github.com/huggingface/huggingface_hub (``hf_raise_for_status``).
"""

import shlex
from time import time

from qtool.errors import AuthError, NetworkError, NotFoundError, QtoolError
from qtool.hub.endpoints import Endpoint, EndpointOrigin
from qtool.hub.headers import Headers
from qtool.hub.paths import printable
from qtool.hub.repo import RepoRef

BUSY_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})


def refusal(
    status: int,
    headers: Headers,
    endpoint: Endpoint,
    repo: RepoRef,
    *,
    has_token: bool,
    path: str | None = None,
) -> QtoolError:
    """Return the exception for an answer that is no success; ``path`` is the file asked for."""
    code = headers.get("X-Error-Code") or ""
    if code == "GatedRepo":
        return _gated(endpoint, repo, has_token)
    if code == "RevisionNotFound":
        return _revision_not_found(endpoint, repo)
    if code == "EntryNotFound" or (status == 404 and path is not None):
        return NotFoundError(
            f"{endpoint.url} has no file {path!r} in {repo.repo_id} at {repo.revision}",
            hint=f"qtool download {shlex.quote(repo.repo_id)} --dry-run   # lists the files",
        )
    if code == "RepoNotFound" or status == 404:
        return _repo_not_found(endpoint, repo, has_token)
    if status in (401, 403):
        return _not_authorised(status, headers, endpoint, repo, has_token)
    return NetworkError(
        f"{endpoint.url} answers {status}{_said(headers)} for {repo.repo_id}",
        hint="try again later, or another endpoint: --endpoint URL",
    )


def retry_after_s(headers: Headers) -> float | None:
    """Return the seconds that ``Retry-After`` asks for (a number or a date), None without it."""
    text = (headers.get("Retry-After") or "").strip()
    if not text:
        return None
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return float(text)
    from email.utils import mktime_tz, parsedate_tz  # costs 15 ms

    try:
        parsed = parsedate_tz(text)
        return max(0.0, mktime_tz(parsed) - time()) if parsed else None
    except (ValueError, OverflowError, TypeError):  # such as the year 99999999
        return None


def _gated(endpoint: Endpoint, repo: RepoRef, has_token: bool) -> AuthError:
    page = endpoint.page_url(repo)
    if has_token:
        hint = f"accept the terms at {page} with the account the token belongs to, then run again"
    else:
        hint = (
            f"accept the terms at {page}, make a token at {endpoint.url}/settings/tokens, "
            "then run again with HF_TOKEN=…"
        )
    return AuthError(f"{repo.repo_id} is gated: its files need terms to be accepted", hint=hint)


def _not_authorised(
    status: int, headers: Headers, endpoint: Endpoint, repo: RepoRef, has_token: bool
) -> AuthError:
    if has_token:
        message = f"{endpoint.url} refuses the token for {repo.repo_id} ({status}{_said(headers)})"
        hint = f"check the token and its permissions at {endpoint.url}/settings/tokens"
    else:
        message = f"{endpoint.url} wants a token for {repo.repo_id} ({status}{_said(headers)})"
        hint = "set HF_TOKEN=…, or log in once with: hf auth login"
        if endpoint.origin is EndpointOrigin.PASTED:
            url = shlex.quote(endpoint.url)
            hint = f"a token goes to endpoints that you name only: --endpoint {url}"
    return AuthError(message, hint=hint)


def _repo_not_found(endpoint: Endpoint, repo: RepoRef, has_token: bool) -> NotFoundError:
    other = "model" if repo.repo_type.value == "dataset" else "dataset"
    private = "" if has_token else "; a private repository needs HF_TOKEN=…"
    hint = f"check the spelling; a {other} needs --repo-type {other}{private}"
    if "/" not in repo.repo_id:
        hint = f"most names are org/name; to look for it: qtool find {shlex.quote(repo.repo_id)}"
    return NotFoundError(f"{endpoint.url} has no {repo.repo_type} {repo.repo_id}", hint=hint)


def _revision_not_found(endpoint: Endpoint, repo: RepoRef) -> NotFoundError:
    return NotFoundError(
        f"{repo.repo_id} has no revision {repo.revision!r}",
        hint=f"leave it out for the main branch; branches and tags: "
        f"{endpoint.page_url(repo)}/tree/main",
    )


def _said(headers: Headers) -> str:
    message = printable(headers.get("X-Error-Message") or "")
    return f", {message[:200]}" if message else ""
