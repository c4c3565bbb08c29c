"""A server that is not ours: anything that speaks the OpenAI API, here or elsewhere."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from qtool.chat.client import FOREIGN
from qtool.chat.queries import list_models
from qtool.engines.base import Endpoint, OnWait
from qtool.errors import NotFoundError, QtoolError, UsageError
from qtool.language.message import say

KEY_VARIABLES = ("QTOOL_API_KEY", "OPENAI_API_KEY")

_PATHS = ("/chat/completions", "/v1")
"""What people copy along with the address."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")


class RemoteEngine:
    """Stands where an engine of ours would. Without ``model`` the server's only one is taken."""

    is_ready = True

    def __init__(self, url: str, api_key: str, model: str | None) -> None:
        self._url = url
        self._api_key = api_key
        self._model = model

    def endpoint(self, on_wait: OnWait | None = None) -> Endpoint:
        """Return where it listens, asking for the model's name where none is given.

        Raises:
            NotFoundError: it serves none, or more than one.
            AuthError, NetworkError: see ``list_models``.
        """
        if self._model is None:
            self._model = self._only_model()
        return Endpoint(self._url, self._api_key, self._model, FOREIGN)

    def with_model(self, model: str) -> "RemoteEngine":
        """Return another model of the same server."""
        return RemoteEngine(self._url, self._api_key, model)

    def explain_loss(self, loss: QtoolError) -> QtoolError:
        """Return ``loss`` itself: of that server nothing more is known."""
        return loss

    def stop(self) -> None:
        """Leave it alone: it is not ours."""

    def kill(self) -> None:
        """Leave it alone as well."""

    def _only_model(self) -> str:
        names = list(list_models(Endpoint(self._url, self._api_key, "", FOREIGN)))
        if len(names) == 1:
            return names[0]
        if not names:
            raise NotFoundError(say("{url} serves no models", url=self._url), hint="--model NAME")
        listed = f"{', '.join(names[:8])}{' …' if len(names) > 8 else ''}"
        raise NotFoundError(
            say("{url} serves {n} models: {names}", url=self._url, n=len(names), names=listed),
            hint=f"--model {names[0]}",
        )


def parse_endpoint(text: str) -> str:
    """Return the address without ``/v1`` and slashes at its end.

    Raises:
        UsageError: it is no http or https address, or carries a password.
    """
    try:
        url = urlsplit(text if "://" in text else f"http://{text}")
        is_address = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        told = say("{text!r} is no address", text=text)
        raise UsageError(told, hint="--endpoint http://127.0.0.1:8000/v1")
    if url.username is not None or url.query:
        raise UsageError(
            say("the address must carry no key, which others could read in the process list"),
            hint=say("export {name}=…, or --api-key-file FILE", name=KEY_VARIABLES[0]),
        )
    path = url.path.rstrip("/")
    for tail in _PATHS:
        path = path.removesuffix(tail)
    return f"{url.scheme}://{url.netloc}{path.rstrip('/')}"


def is_exposed(url: str, api_key: str) -> bool:
    """Tell whether the key would travel unencrypted over a network."""
    parts = urlsplit(url)
    return bool(api_key) and parts.scheme == "http" and parts.hostname not in LOOPBACK


def read_api_key(file: Path | None, environ: Mapping[str, str] = os.environ) -> str:
    """Return the key that ``file`` or the environment holds; empty where there is none.

    Raises:
        UsageError: the file cannot be read, or holds no key.
    """
    if file is None:
        named = next((name for name in KEY_VARIABLES if environ.get(name, "").strip()), None)
        return _checked(environ[named], f"${named}") if named else ""
    try:
        return _checked(file.read_text(encoding="utf-8"), str(file))
    except (OSError, ValueError) as exc:
        why = getattr(exc, "strerror", exc)
        raise UsageError(say("cannot read {path}: {why}", path=file, why=why)) from exc


def _checked(text: str, origin: str) -> str:
    key = text.strip()
    if not re.fullmatch("[!-~]+", key):
        raise UsageError(say("{origin} holds no key: one word of ASCII characters", origin=origin))
    return key
