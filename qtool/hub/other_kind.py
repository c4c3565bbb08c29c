"""A repository that is there, but as another kind than the one it was asked for as."""

from dataclasses import replace

from qtool.errors import NotFoundError, QtoolError
from qtool.hub.client import HubClient
from qtool.hub.endpoints import HubApi
from qtool.hub.repo import RepoRef, RepoType

_OPTIONS = {RepoType.MODEL: "--repo-type model", RepoType.DATASET: "--dataset"}


def explained(failure: NotFoundError, client: HubClient, repo: RepoRef) -> NotFoundError:
    """Return the failure that says of which kind ``repo`` is; ``failure`` where it is of none.

    Asks the hub once more.
    """
    kind = RepoType.DATASET if repo.repo_type is RepoType.MODEL else RepoType.MODEL
    other = replace(repo, repo_type=kind)
    if client.endpoint.api is not HubApi.HUGGING_FACE:
        return failure
    try:
        client.get_json(client.endpoint.info_url(other), other)
    except QtoolError:
        return failure
    revision = "" if repo.revision == "main" else f" --revision {repo.revision}"
    return NotFoundError(
        f"{failure.message}, but a {kind} of that name",
        hint=f"qtool download {repo.repo_id}{revision} {_OPTIONS[kind]}",
    )
