"""Parsing addresses on a hub: ``hf://…`` and what a browser's address bar shows.

Pages of huggingface.co and its mirrors: ``/org/name``, ``/org/name/tree/REV/folder``,
``/org/name/blob/REV/file``, ``/org/name/resolve/REV/file``, with ``/datasets`` in front for
datasets; of modelscope.cn: ``/models/org/name/file/view/REV/file``. A name, revision or file may
be percent-encoded; a revision is one segment (``refs%2Fpr%2F1``) or an unencoded ``refs/pr/1``.
"""

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from qtool.errors import UsageError
from qtool.models.quants import quant_of
from qtool.models.repo_names import (
    bad_reference,
    check_filename,
    check_revision,
    is_clean,
    parse_repo_name,
    shown,
)

RepoType = Literal["model", "dataset"]

# Hubs that are recognised without https:// in front.
_KNOWN_HUBS = re.compile(
    r"(?:www\.)?(?:huggingface\.co|hf\.co|hf-mirror\.com|modelscope\.(?:cn|ai))/", re.IGNORECASE
)
# The hub's own short name, which every model's page shows for other programs.
_SHORT_HOST = re.compile(r"https?://(?:www\.)?hf\.co/", re.IGNORECASE)
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]")
_HF_PATH = re.compile(
    r"(?P<name>[^:@/]+(?:/[^:@/]+)?(?:[:@](?:refs/(?:pr|convert)/)?[^:@/]*)*)"
    r"(?:/(?P<filename>.*))?"
)
# First segments that are pages of the hub itself, not organisations.
_HUB_PAGES = frozenset(
    {"spaces", "collections", "papers", "docs", "blog", "posts", "tasks", "learn", "chat"}
    | {"settings", "login", "join", "new", "pricing", "organizations"}
)
_TYPE_SEGMENTS: Mapping[str, RepoType] = {"models": "model", "datasets": "dataset"}
_FILE_PAGES = frozenset({"tree", "blob", "resolve", "raw", "blame", "commit", "commits"})
_REPO_PAGES = frozenset({"summary", "files", "discussions", "viewer", "quickstart", "feedback"})


class HubLocation(NamedTuple):
    """A repository, and perhaps a revision, quantization or file of it, on perhaps a given hub."""

    repo_id: str
    repo_type: RepoType
    quant: str | None = None
    revision: str | None = None
    filename: str | None = None
    endpoint: str | None = None


def is_hub_address(text: str) -> bool:
    """Whether ``text`` has a scheme, or starts with the host of a known hub."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) is not None or (
        _KNOWN_HUBS.match(text) is not None
    )


def parse_hub_address(text: str, default_repo_type: RepoType) -> HubLocation:
    """Parse ``hf://…`` or a web address.

    Raises:
        UsageError: not a repository's address. Credentials in it are not repeated.
    """
    if text[:5].lower() == "hf://":
        return _parse_hf_uri(text, default_repo_type)
    return _parse_url(_SHORT_HOST.sub("https://huggingface.co/", _with_scheme(text)))


def _with_scheme(text: str) -> str:
    return text if "://" in text else f"https://{text}"


def _parse_hf_uri(text: str, repo_type: RepoType) -> HubLocation:
    """``hf://[datasets/]org/name[@revision][/path]``, as in huggingface_hub's HfFileSystem."""
    rest = text[5:].rstrip("/")
    prefix, _, behind = rest.partition("/")
    if prefix in _HUB_PAGES:
        bad_reference(text, f"is one of the {prefix}, not a model or dataset")
    if prefix in _TYPE_SEGMENTS:
        rest, repo_type = behind, _TYPE_SEGMENTS[prefix]
    match = _HF_PATH.fullmatch(rest)
    if match is None:
        bad_reference(text, "is not of the form hf://org/name/file")
    name = parse_repo_name(unquote(match["name"]), text)
    filename = match["filename"]
    return HubLocation(
        name.repo_id,
        repo_type,
        name.quant,
        name.revision,
        None if filename is None else check_filename(filename, text),
    )


def _parse_url(url: str) -> HubLocation:
    parts, endpoint = _split_url(url)
    text = f"{endpoint}{parts.path}"  # for messages: without the query, which may hold a token
    segments = [unquote(segment) for segment in parts.path.strip("/").split("/")]
    if not all(is_clean(segment) and segment not in {"", ".", ".."} for segment in segments):
        bad_reference(text, "is not the address of a repository")
    if segments[0] == "api":
        segments = segments[1:]
    repo_type = _TYPE_SEGMENTS.get(segments[0]) if segments else None
    if repo_type:
        segments = segments[1:]
    if not segments or segments[0] in _HUB_PAGES:
        bad_reference(text, "is a page of the hub, not the address of a model or dataset")
    location = _parse_segments(segments, text)
    location = location._replace(repo_type=repo_type or "model", endpoint=endpoint)
    shown_file = parse_qs(parts.query).get("show_file_info")  # the hub's GGUF viewer
    if shown_file and location.filename is None:
        location = location._replace(filename=check_filename(shown_file[0], text))
    return location


def _split_url(url: str) -> tuple[SplitResult, str]:
    """Split a web address; the second value is its scheme, host and port."""
    scheme = url.partition("://")[0].lower()
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as exc:
        raise UsageError(f"not a web address: {exc}") from exc
    if "@" in parts.netloc:
        raise UsageError(
            f"the address on {host or 'this host'} has a user name or password in it",
            hint="take it out; a token belongs in the environment: export HF_TOKEN=…",
        )
    if scheme not in {"http", "https"}:
        raise UsageError(f"{shown(scheme)} addresses cannot be used; http, https and hf can")
    host = f"[{host}]" if ":" in host else host
    if not _HOST.fullmatch(host):
        raise UsageError(f"{shown(host)} is not the name of a host")
    return parts, f"{scheme}://{host}" + (f":{port}" if port is not None else "")


def _parse_segments(segments: list[str], text: str) -> HubLocation:
    """The path of an address without the type of repository in front."""
    n_name = 1 if len(segments) == 1 or (len(segments) > 2 and segments[1] in _FILE_PAGES) else 2
    name = parse_repo_name("/".join(segments[:n_name]), text)
    location = HubLocation(name.repo_id, "model", name.quant, name.revision)
    rest = segments[n_name:]
    if rest[:2] == ["file", "view"]:  # modelscope
        rest = ["blob", *rest[2:]]
    if not rest or rest[0] in _REPO_PAGES or rest == ["tree"]:
        return location
    page, *rest = rest
    if page == "revision" and rest:  # the API's /api/models/org/name/revision/REV
        page = "tree"
    if page not in _FILE_PAGES or not rest:
        bad_reference(text, f"has the unknown page {shown(page)} behind {name.repo_id}")
    n_revision = 3 if rest[0] == "refs" and len(rest) > 2 else 1
    if name.revision is not None:
        bad_reference(text, "names two revisions")
    revision = check_revision("/".join(rest[:n_revision]), text)
    location = location._replace(revision=revision)
    return _with_path(location, page, "/".join(rest[n_revision:]), text)


def _with_path(location: HubLocation, page: str, path: str, text: str) -> HubLocation:
    if not path or page in {"commit", "commits"}:
        return location
    check_filename(path, text)
    if page != "tree":
        return location._replace(filename=path)
    quant = quant_of(f"{path}/")
    if quant is None:
        bad = f"is the folder {shown(path)} inside of {location.repo_id}, not a repository or file"
        raise UsageError(
            f"{shown(text)} {bad}", hint=f"qtool download {location.repo_id} --include '{path}/*'"
        )
    return location._replace(quant=location.quant or quant)
