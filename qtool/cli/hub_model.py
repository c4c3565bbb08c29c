"""A model that is named by its repository: found on this machine, else fetched into the cache."""

import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from qtool.errors import NotFoundError, UsageError
from qtool.hub.auth import hub_cache_dir, is_hub_offline
from qtool.language.message import say
from qtool.models.local import LocalModel, find_repository, locate_model
from qtool.models.reference import Reference, ReferenceKind, parse_reference
from qtool.units import format_size

if TYPE_CHECKING:
    from qtool.config import Config
    from qtool.download import DownloadRequest, DownloadResult
    from qtool.output import Output

_HUB_FILE = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)/(?P<file>.+\.gguf)", re.I)
"""``org/name/file*.gguf``, which as a path would be a file in a folder of a folder."""


def locate_here(text: str, config: "Config", output: "Output | None" = None) -> LocalModel:
    """Return the model that ``text`` names: a path, a starter, or a repository that is here.

    A repository is here as ``./<name>``, which is said to ``output``, or in the Hugging Face cache.

    Raises:
        UsageError: ``text`` is no reference.
        NotFoundError: it is not on this machine.
    """
    cache, named = hub_cache_dir(os.environ), parse_hub_file(text)
    if named is None:
        model = locate_model(text, cache_dir=config.cache_dir(), hub_cache=cache)
    elif (found := find_repository(named, hub_cache=cache)) is not None:
        model = found
    else:
        raise NotFoundError(
            say("{name} is neither a file here nor one of the Hugging Face cache", name=text),
            hint=f"qtool download hf://{text}",
        )
    if output is not None and not model.path.is_absolute() and is_repository(text):
        output.note(say("using ./{path}", path=model.path))
    return model


def obtain_from_hub(
    text: str, output: "Output", config: "Config", *, is_agreed: bool
) -> LocalModel:
    """Return the model that ``text`` names; fetch it where it is a repository that is not here.

    It goes to the Hugging Face cache, so that it is found from every folder. On a terminal the
    user is asked first; elsewhere its size is said.

    Raises:
        UsageError: the user does not want it, or ``text`` means several models.
        QtoolError: it cannot be fetched.
    """
    try:
        model = locate_here(text, config, output)
    except NotFoundError:
        if not is_repository(text) or is_hub_offline(os.environ):
            raise
    else:
        if is_hub_offline(os.environ) or not _is_cut_short(model):
            from qtool.cli.quant_prompt import settle_variant

            return settle_variant(model, output)
    request = build_request(text, config)
    planned = _choose_files(request, output)
    size = format_size(sum(file.size_bytes for file in planned.files))
    place = request.cache_dir
    if not output.is_interactive or is_agreed:
        told = say(
            "fetching {repo} ({size}) to {place}", repo=planned.repo_id, size=size, place=place
        )
        output.note(told)
    elif not output.ask(
        say("Fetch {repo} ({size}) to {place}?", repo=planned.repo_id, size=size, place=place)
    ):
        raise UsageError(say("the model was not fetched"), hint=f"qtool download {text}")
    return _fetch(request, planned, output)


def parse_hub_file(text: str) -> Reference | None:
    """Return what ``org/name/file*.gguf`` names, unless there is a file of that name here."""
    found = _HUB_FILE.fullmatch(text)
    if found is None or os.path.lexists(text):
        return None
    return Reference(ReferenceKind.REPO, text, repo_id=found["repo"], filename=found["file"])


def is_repository(text: str) -> bool:
    """Tell whether ``text`` names a repository or a file in one, not a path or a starter."""
    if parse_hub_file(text) is not None:
        return True
    reference = parse_reference(text)
    return reference.kind is ReferenceKind.REPO and "/" in (reference.repo_id or "")


def _is_cut_short(model: LocalModel) -> bool:
    """Tell whether shards are missing of a model in the cache, as after a stopped download."""
    if not model.path.is_relative_to(hub_cache_dir(os.environ)):
        return False
    from qtool.models.formats import inspect_model

    return bool(inspect_model(model.path, quant=model.quant).missing_files)


def build_request(text: str, config: "Config") -> "DownloadRequest":
    """Return the download of what ``text`` names into the Hugging Face cache.

    Raises:
        UsageError: ``text`` is no reference.
    """
    from qtool.cli import download_run
    from qtool.cli.download_run import Arguments
    from qtool.download.request import Backend
    from qtool.hub.repo import RepoType

    named = parse_hub_file(text)
    arguments = Arguments(
        reference=text if named is None else str(named.repo_id),
        files=(),
        include=(str(named.filename),) if named else (),
        exclude=(),
        revision=None,
        repo_type=RepoType.MODEL,
        local_dir=None,
        is_cached=True,
        endpoints=(),
        connections=None,
        jobs=None,
        limit_rate=None,
        token=None,
        backend=Backend.NATIVE.value,
        is_dry_run=False,
        is_forced=False,
        is_verify_only=False,
        is_repair=False,
    )
    return download_run.build_request(arguments, config)


def _choose_files(request: "DownloadRequest", output: "Output") -> "DownloadResult":
    """Ask the hub what there is; return what is to be fetched, nothing of it yet.

    Raises:
        UsageError: several models are meant.
    """
    from qtool.cli.download_run import make_asker
    from qtool.download import download
    from qtool.models.quants import GgufRole, group_gguf

    ask = make_asker(output) if output.is_interactive else None
    planned = download(replace(request, is_dry_run=True), ask_quant=ask)
    paths = [file.path for file in planned.files]
    models = [one for one in group_gguf(paths) if one.role is GgufRole.MODEL]
    if len(models) > 1:
        names = ", ".join(one.title for one in models[:8])
        raise UsageError(
            f"{request.repo.repo_id} has several models of that name: {names}",
            hint=f"qtool chat {request.repo.repo_id}:{models[0].title}",
        )
    return planned


def _fetch(request: "DownloadRequest", planned: "DownloadResult", output: "Output") -> LocalModel:
    from qtool.cli.download_view import make_watcher
    from qtool.download import Selection, download
    from qtool.models.quants import GgufRole, group_gguf

    paths = tuple(file.path for file in planned.files)
    with make_watcher(output) as watcher:
        result = download(
            replace(request, selection=Selection(files=paths)), on_event=watcher.on_event
        )
    for failure in result.failures:
        if failure.error is not None:
            raise failure.error
    models = [one for one in group_gguf(paths) if one.role is GgufRole.MODEL]
    has_checkpoint = any(path.endswith(".safetensors") for path in paths)
    if models and not has_checkpoint:
        return LocalModel(result.path / models[0].files[0])
    return LocalModel(result.path)
