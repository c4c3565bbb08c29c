"""Endpoints: the base URLs of hubs, most of which speak the Hugging Face API.

Where the list comes from, first hit wins: ``--endpoint`` (repeatable), ``HF_ENDPOINT`` (may be a
comma list), the configuration, the mirrors among which the fastest is chosen, the default.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote, urlsplit

from qtool.errors import UsageError
from qtool.hub import modelscope
from qtool.hub.repo import RepoRef

OFFICIAL_URL = "https://huggingface.co"

_LOOPBACK = re.compile(r"localhost|::1|127(\.\d{1,3}){3}")
# RFC 1918, behind whose addresses a hub seldom has a certificate.
_NEAR = re.compile(
    r"localhost|::1|(127|10)(\.\d{1,3}){3}|(192\.168|172\.(1[6-9]|2\d|3[01]))(\.\d{1,3}){2}"
)
_MODELSCOPE_HOSTS = frozenset({"modelscope.cn", "www.modelscope.cn", "modelscope.ai"})


class HubApi(StrEnum):
    """The languages hubs speak."""

    HUGGING_FACE = "huggingface"
    MODELSCOPE = "modelscope"


class EndpointOrigin(StrEnum):
    """Who named an endpoint."""

    FLAG = "flag"
    ENVIRONMENT = "environment"
    CONFIG = "config"
    DEFAULT = "default"
    AUTOMATIC = "automatic"
    PASTED = "pasted"


_NAMED_ON_PURPOSE = frozenset(
    {EndpointOrigin.FLAG, EndpointOrigin.ENVIRONMENT, EndpointOrigin.CONFIG}
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A hub: its base URL without a slash at the end, who named it, and what it speaks."""

    url: str
    origin: EndpointOrigin = EndpointOrigin.DEFAULT
    api: HubApi = HubApi.HUGGING_FACE

    @property
    def is_trusted_with_token(self) -> bool:
        """Return whether the user's token may go there: the hub itself, or named as an endpoint.

        An address that was pasted, of a repository or file, may come from anybody. ModelScope has
        tokens of its own; a Hugging Face token is none of its business.
        """
        if self.api is HubApi.MODELSCOPE:
            return False
        return self.url == OFFICIAL_URL or self.origin in _NAMED_ON_PURPOSE

    @property
    def is_in_clear(self) -> bool:
        """Return whether others on the way can read along: plain HTTP that leaves the machine."""
        parts = urlsplit(self.url)
        return parts.scheme == "http" and not _LOOPBACK.fullmatch(parts.hostname or "")

    @property
    def is_near(self) -> bool:
        """Return whether it is this machine, or one of a private network."""
        return _NEAR.fullmatch(urlsplit(self.url).hostname or "") is not None

    def info_url(self, repo: RepoRef) -> str:
        """Return the URL of a revision's metadata with sizes and digests of its files."""
        return f"{self._api(repo)}/revision/{quote(repo.revision, safe='')}?blobs=true"

    def tree_url(self, repo: RepoRef, commit: str) -> str:
        """Return the URL of the first page of a commit's files."""
        return f"{self._api(repo)}/tree/{quote(commit, safe='')}?recursive=true"

    def file_url(self, repo: RepoRef, commit: str, path: str) -> str:
        """Return the URL of a file's content."""
        if self.api is HubApi.MODELSCOPE:
            return modelscope.file_url(self.url, repo, path)
        prefix = f"{self.url}{repo.repo_type.page_prefix}/{quote(repo.repo_id)}"
        return f"{prefix}/resolve/{quote(commit, safe='')}/{quote(path)}"

    def page_url(self, repo: RepoRef) -> str:
        """Return the URL of the repository's page, where terms are accepted."""
        return f"{self.url}{repo.repo_type.page_prefix}/{quote(repo.repo_id)}"

    def _api(self, repo: RepoRef) -> str:
        return f"{self.url}{repo.repo_type.api_prefix}/{quote(repo.repo_id)}"


def choose_endpoints(
    flags: Sequence[str],
    environ: Mapping[str, str],
    configured: Sequence[str] = (),
    mirrors: Sequence[str] = (),
    *,
    pasted: str | None = None,
) -> tuple[Endpoint, ...]:
    """Return the endpoints to use, in the order in which to try them.

    Of ``mirrors``, which count when nobody names an endpoint, the order is still to be found out
    (``choice.choose``).

    ``pasted`` is the address of a reference such as ``https://hub.example/org/name``: it comes
    after ``flags``, and is trusted no more than if nobody had named it. A link to huggingface.co is
    what everyone copies, also where that site cannot be reached: it only names the repository.
    Raises UsageError when one of them is not an HTTP URL.
    """
    from_environment = [part for part in environ.get("HF_ENDPOINT", "").split(",") if part.strip()]
    named = (
        (from_environment, EndpointOrigin.ENVIRONMENT),
        (configured, EndpointOrigin.CONFIG),
    )
    if pasted and not flags and normalise_url(pasted) != OFFICIAL_URL:
        candidates = [one for urls, origin in named for one in _endpoints(urls, origin)]
        (address,) = _endpoints([pasted], EndpointOrigin.PASTED)
        return (next((one for one in candidates if one.url == address.url), address),)
    for urls, origin in (
        (flags, EndpointOrigin.FLAG),
        *named,
        (mirrors, EndpointOrigin.AUTOMATIC),
    ):
        if urls:
            return _endpoints(urls, origin)
    return (Endpoint(OFFICIAL_URL),)


def _endpoints(urls: Sequence[str], origin: EndpointOrigin) -> tuple[Endpoint, ...]:
    unique = dict.fromkeys(normalise_url(url) for one in urls for url in one.split(","))
    return tuple(Endpoint(url, origin, _api_of(url)) for url in unique)


def _api_of(url: str) -> HubApi:
    is_modelscope = urlsplit(url).hostname in _MODELSCOPE_HOSTS
    return HubApi.MODELSCOPE if is_modelscope else HubApi.HUGGING_FACE


def normalise_url(text: str) -> str:
    """Return a base URL with scheme and lower-case host, without a slash at the end.

    ``hf-mirror.com`` becomes ``https://hf-mirror.com``, ``localhost:8090`` (this machine, or one of
    the local network) ``http://localhost:8090``. Raises UsageError for anything else than HTTP, for
    a query or fragment, and for credentials (they would end up in logs).
    """
    stripped = text.strip()
    url = stripped if "://" in stripped else f"https://{stripped}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise _bad_endpoint(text) from exc
    is_http = "://" not in stripped and port != 443 and _NEAR.fullmatch(parts.hostname or "")
    parts = parts._replace(scheme="http") if is_http else parts
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise _bad_endpoint(text)
    if any(char.isspace() for char in url):
        raise _bad_endpoint(text)
    if "@" in parts.netloc:
        raise UsageError(
            f"the endpoint for {parts.hostname} carries credentials",
            hint="give the token with HF_TOKEN, and the endpoint without user and password",
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    suffix = "" if port is None else f":{port}"
    return f"{parts.scheme}://{host}{suffix}{parts.path.rstrip('/')}"


def _bad_endpoint(text: str) -> UsageError:
    return UsageError(
        f"not an endpoint: {text!r}",
        hint="give a base URL such as --endpoint https://hf-mirror.com",
    )
