"""A model on a hub, looked at before it is fetched: ``qtool doctor org/name``."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qtool.errors import NetworkError, NotFoundError
from qtool.language.message import say

if TYPE_CHECKING:
    from qtool.config import Config
    from qtool.models.info import ModelInfo
    from qtool.output import Output


def inspect_on_hub(text: str, config: "Config", output: "Output") -> "tuple[ModelInfo, str]":
    """Return what headers and configuration tell of ``text`` on a hub, and its repository.

    The information has ``text`` for a path, and no files: nothing of it stays here.

    Raises:
        NotFoundError: no hub has it, or none answers.
        AuthError: it takes a token.
    """
    from qtool.cli.hub_model import build_request
    from qtool.download.headers import fetch_headers
    from qtool.models.formats import inspect_model

    request = build_request(text, config)
    repo_id = request.repo.repo_id
    output.status(say("reading the headers of {model} …", model=text))
    try:
        with tempfile.TemporaryDirectory(prefix="qtool-headers-") as folder:
            info = inspect_model(fetch_headers(request, Path(folder)))
    except NetworkError as exc:
        raise NotFoundError(
            say("{model} is not on this machine, and no hub tells of it: {why}",
                model=text, why=exc.message),
            hint=f"qtool download {text}",
        ) from exc  # fmt: skip
    finally:
        output.status()
    output.note(say("{model} is not here; its headers were read on the hub", model=text))
    return replace(info, path=Path(text), files=()), repo_id
