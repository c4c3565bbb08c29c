"""A repository's configuration and the headers of its weights: some megabytes of many gigabytes.

They are written into a folder in which each weight file has its true size and its true header,
and a hole for the rest; so whatever reads headers of models on the disk reads these.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from itertools import repeat
from pathlib import Path
from typing import BinaryIO, cast

from qtool.download.plan import plan
from qtool.download.quant_choice import AskQuant, settle_quant
from qtool.download.request import DownloadRequest
from qtool.errors import NotFoundError
from qtool.hub.choice import Choice, choose, list_on_first
from qtool.hub.client import ATTEMPTS, HubClient
from qtool.hub.connection import ConnectionPool
from qtool.hub.range_file import RangeFile
from qtool.hub.ranking import Ranking
from qtool.hub.repo import RemoteFile
from qtool.models.gguf import read_gguf_header
from qtool.models.safetensors import read_safetensors_header

WEIGHTS = (".safetensors", ".gguf")
CONFIGURATION = ("*config*.json", "*.index.json", "chat_template*", "special_tokens_map.json")
LARGEST_CONFIGURATION_BYTES = 2 * 1024 * 1024
"""More than an index of shards has."""
N_AT_ONCE = 8


def fetch_headers(
    request: DownloadRequest, folder: Path, ask_quant: AskQuant | None = None
) -> Path:
    """Write what tells about the model of ``request`` into ``folder``; return it, or its GGUF.

    Raises:
        QtoolError: no hub has it, or none answers; a header is damaged.
        NotFoundError: the repository has no weights that qtool reads.
    """
    pool = ConnectionPool()
    try:
        choice = _choose(request, pool)
        listing = choice.listing
        wanted = plan(listing, settle_quant(listing, request.selection, ask_quant)).files
        files = list(_telling(wanted))
        remotes = [RangeFile(choice.client, listing, file) for file in files]
        with ThreadPoolExecutor(N_AT_ONCE) as threads:
            list(threads.map(_write, repeat(folder), files, remotes))
    finally:
        pool.abort()
    weights = [file.path for file in files if file.path.endswith(WEIGHTS)]
    if not weights:
        raise NotFoundError(
            f"{listing.repo.repo_id} holds no model: neither .gguf nor .safetensors files",
            hint=f"qtool download {listing.repo.repo_id} --dry-run",
        )
    is_gguf = all(path.endswith(".gguf") for path in weights)
    return folder / sorted(weights)[0] if is_gguf else folder


def _choose(request: DownloadRequest, pool: ConnectionPool) -> Choice:
    attempts = ATTEMPTS if len(request.endpoints) == 1 else 1
    clients = [
        HubClient(pool, endpoint, request.token, attempts=attempts)
        for endpoint in request.endpoints
    ]
    if request.is_choice_automatic and len(clients) > 1:
        ranking = Ranking(request.ranking_path) if request.ranking_path else None
        return choose(clients, request.repo, ranking)
    return list_on_first(clients, request.repo)


def _telling(files: tuple[RemoteFile, ...]) -> Iterator[RemoteFile]:
    """Yield the files that tell about a model."""
    for file in files:
        is_known = any(fnmatch(file.path, pattern) for pattern in CONFIGURATION)
        is_small = "/" not in file.path and file.size_bytes <= LARGEST_CONFIGURATION_BYTES
        if file.path.endswith(WEIGHTS) or (is_known and is_small):
            yield file


def _write(folder: Path, file: RemoteFile, remote: RangeFile) -> None:
    """Write the header of a file, or all of a small one, and give it its size."""
    name, source = file.path, cast("BinaryIO", remote)
    if name.endswith(".gguf"):
        read_gguf_header(source, name=name)
    elif name.endswith(".safetensors"):
        read_safetensors_header(source, name=name)
    else:
        remote.read()
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as out:
        out.write(remote.head)
        out.truncate(file.size_bytes)
