"""Quantized variants of a model, from the hub's API.

A repository says itself what it was made from (``base_model:quantized:org/name``, a tag that the
hub reads from the model card). Older ones do not: they are found by name, as people search,
``name gptq``. One request for the model, one for each list, one for the sizes of each variant
that is returned.
API: https://huggingface.co/docs/hub/api
"""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from qtool.errors import AuthError, NetworkError, NotFoundError
from qtool.hub.client import HubClient
from qtool.hub.endpoints import HubApi
from qtool.hub.repo import RepoRef
from qtool.hub.unreachable import no_hub_answers
from qtool.hub.variants import (
    QUANTIZED_TAG,
    FoundBy,
    Variant,
    VariantFormat,
    base_of,
    parse_variant,
    tags_of,
    with_sizes,
)

log = logging.getLogger(__name__)

# How many entries each list is asked for: enough that what matters is among the most downloaded.
LIST_LIMIT = 100
_EXPANDED = ("config", "downloads", "gated", "lastModified", "tags")
_N_REQUESTS_AT_ONCE = 4
_FORMAT_SUFFIX = re.compile(
    r"[-_.](?:i1-)?(?:gptq|awq|gguf)(?![a-z]).*|[-_.](?:int|w)[2-8]$", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Found:
    """The variants of ``base``, which is what ``model`` was made from if it is one of them.

    ``n_found`` counts those beyond the limit too.
    """

    model: str
    base: str
    endpoint: str
    variants: tuple[Variant, ...]
    n_found: int


def find_variants(
    clients: Sequence[HubClient], model: str, formats: Sequence[VariantFormat], limit: int
) -> Found:
    """Return the ``limit`` most downloaded variants, by the first endpoint that answers.

    Raises:
        NotFoundError: there are none, or no such model.
        NetworkError: no endpoint answers as a hub does. ModelScope knows of no such question.
    """
    reasons: dict[str, str] = {}
    for client in clients:
        if client.endpoint.api is HubApi.MODELSCOPE:
            reasons[client.endpoint.url] = "cannot be asked for variants"
            continue
        try:
            return _find(client, model, formats, limit)
        except NetworkError as exc:
            if len(clients) == 1:
                raise
            log.debug("%s", exc)
            reasons[client.endpoint.url] = exc.message
    raise no_hub_answers(f"lists variants of {model}", reasons, instead="")


def list_queries(base: str, formats: Iterable[VariantFormat]) -> list[tuple[FoundBy, str]]:
    """Return the query strings of the lists to ask for; a name without owner has no tag."""
    by_tag = [(FoundBy.BASE_MODEL, _query(filter=QUANTIZED_TAG + base))] if "/" in base else []
    name = base.rpartition("/")[2]
    return by_tag + [(FoundBy.NAME, _query(search=f"{name} {item}")) for item in formats]


def merge(
    lists: Iterable[tuple[FoundBy, Sequence[object]]], base: str, formats: Iterable[VariantFormat]
) -> list[Variant]:
    """Return each variant once, the most downloaded first; what comes first explains why.

    A repository that was found by name, but says that it was made from another model, is left out.
    """
    wanted, found = frozenset(formats), dict[str, Variant]()
    for found_by, entries in lists:
        for entry in entries:
            variant = parse_variant(entry, found_by)
            if variant is None or variant.format not in wanted:
                continue
            if found_by is FoundBy.NAME and _is_of_another(entry, base):
                continue
            found.setdefault(variant.repo_id.casefold(), variant)
    return sorted(found.values(), key=lambda variant: (-variant.downloads, variant.repo_id))


def base_name(model: str) -> str:
    """Return the name of what a variant was made from, judged by its own: ``-GPTQ-Int4`` cut.

    Whose model that is the name does not tell, so there is no owner in front.
    """
    return _FORMAT_SUFFIX.sub("", model.rpartition("/")[2])


def _find(client: HubClient, model: str, formats: Sequence[VariantFormat], limit: int) -> Found:
    failure: NotFoundError | AuthError | None = None
    info: Mapping[str, Any] = {}
    try:
        info = _info(client, model)
    except (NotFoundError, AuthError) as exc:
        failure = exc  # its variants may be there all the same
    own = parse_variant(info, FoundBy.ITSELF)
    base = base_of(info) or (base_name(model) if own else model)
    with ThreadPoolExecutor(_N_REQUESTS_AT_ONCE) as threads:
        queries = list_queries(base, formats)
        lists = threads.map(lambda query: (query[0], _list(client, query[1], model)), queries)
        variants = merge([(FoundBy.ITSELF, [info]), *lists], base, formats)
        if not variants:
            if isinstance(failure, AuthError):
                raise failure
            raise _nothing_found(client, model, formats, is_there=failure is None) from failure
        detailed = threads.map(lambda variant: _with_sizes(client, variant), variants[:limit])
        return Found(model, base, client.endpoint.url, tuple(detailed), len(variants))


def _info(client: HubClient, repo_id: str) -> Mapping[str, Any]:
    repo = RepoRef(repo_id)
    data = client.get_json(client.endpoint.info_url(repo), repo).data
    if not isinstance(data, dict):
        raise _malformed(client, f"no object for {repo_id}")
    return data


def _list(client: HubClient, query: str, model: str) -> list[object]:
    url = f"{client.endpoint.url}/api/models?{query}"
    data = client.get_json(url, RepoRef(model)).data
    if not isinstance(data, list):
        raise _malformed(client, "no list of models")
    return data


def _query(**condition: str) -> str:
    order = {"sort": "downloads", "direction": -1, "limit": LIST_LIMIT}
    return urlencode({**condition, **order, "expand": _EXPANDED}, doseq=True)


def _with_sizes(client: HubClient, variant: Variant) -> Variant:
    """Ask for the sizes; a variant whose files may not be seen stays without."""
    try:
        return with_sizes(variant, _info(client, variant.repo_id))
    except (NotFoundError, AuthError, NetworkError) as exc:
        log.debug("the size of %s is unknown: %s", variant.repo_id, exc)
        return variant


def _is_of_another(entry: object, base: str) -> bool:
    tags = tags_of(entry) if isinstance(entry, dict) else ()
    bases = {
        tag.removeprefix(QUANTIZED_TAG).casefold() for tag in tags if tag.startswith(QUANTIZED_TAG)
    }
    if "/" not in base:
        bases = {name.rpartition("/")[2] for name in bases}
    return bool(bases) and base.casefold() not in bases


def _nothing_found(
    client: HubClient, model: str, formats: Sequence[VariantFormat], *, is_there: bool
) -> NotFoundError:
    """Return the error of a model without variants, or of one that does not exist either."""
    words = ", ".join(formats[:-1]) + (" or " if len(formats) > 1 else "") + formats[-1]
    url, name = client.endpoint.url, model.rpartition("/")[2]
    if is_there:
        return NotFoundError(
            f"{url} has {model}, but no {words} variant of it",
            hint=f"qtool doctor {model} says whether it runs as it is",
        )
    return NotFoundError(
        f"{url} has no model {model}, and no {words} variant of it",
        hint=f"check the spelling, or look for it: {url}/models?search={name}",
    )


def _malformed(client: HubClient, what: str) -> NetworkError:
    return NetworkError(
        f"{client.endpoint.url} answers its API in a form qtool does not know: {what}",
        hint="try another endpoint: --endpoint https://huggingface.co",
    )
