"""The user's hub token, found where huggingface_hub finds it, without its half second of import.

Order: ``--token``, ``HF_TOKEN`` (or the older ``HUGGING_FACE_HUB_TOKEN``), the file at
``HF_TOKEN_PATH``, else ``$HF_HOME/token``.
https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables
"""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from qtool.errors import UsageError

log = logging.getLogger(__name__)


def find_token(flag: str | None, environ: Mapping[str, str]) -> str | None:
    """Return the token, or None when the user has none. Reads at most one file.

    Raises UsageError when it holds characters that cannot stand in an HTTP header.
    """
    token = (
        _clean(flag)
        or _clean(environ.get("HF_TOKEN"))
        or _clean(environ.get("HUGGING_FACE_HUB_TOKEN"))
        or _clean(_read(token_path(environ)))
    )
    if token is not None and not (token.isascii() and token.isprintable()):
        raise UsageError(
            "the hub token holds characters that no token has",
            hint="copy it again from https://huggingface.co/settings/tokens",
        )
    return token


def hf_home(environ: Mapping[str, str]) -> Path:
    """Return the folder of everything huggingface_hub keeps: ``~/.cache/huggingface``."""
    home = environ.get("HOME") or str(Path.home())
    cache = environ.get("XDG_CACHE_HOME") or str(Path(home) / ".cache")
    return _expand(environ.get("HF_HOME") or str(Path(cache) / "huggingface"), environ)


def hub_cache_dir(environ: Mapping[str, str]) -> Path:
    """Return the folder of the repositories that huggingface_hub fetched."""
    named = environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE")
    return _expand(named, environ) if named else hf_home(environ) / "hub"


def token_path(environ: Mapping[str, str]) -> Path:
    """Return where ``hf auth login`` keeps the token."""
    explicit = environ.get("HF_TOKEN_PATH")
    return _expand(explicit, environ) if explicit else hf_home(environ) / "token"


def _expand(text: str, environ: Mapping[str, str]) -> Path:
    """Expand ``~`` and ``$NAME`` as huggingface_hub does."""
    expanded = os.path.expandvars(text)
    home = environ.get("HOME")
    if home and (expanded == "~" or expanded.startswith("~/")):
        return Path(home + expanded[1:])
    return Path(expanded).expanduser()


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as exc:
        log.debug("the token file %s cannot be read: %s", path, exc)
        return None


def _clean(token: str | None) -> str | None:
    """Return the token without line ends and blanks around it, None when nothing is left."""
    if token is None:
        return None
    return token.replace("\r", "").replace("\n", "").strip() or None


def is_hub_offline(environ: Mapping[str, str]) -> bool:
    """Tell whether HF_HUB_OFFLINE forbids to ask any hub, in huggingface_hub's spelling of yes."""
    return environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
