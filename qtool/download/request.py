"""What is to be downloaded, and how."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from qtool.download.plan import Selection
from qtool.hub.endpoints import Endpoint, EndpointOrigin
from qtool.hub.repo import RepoRef

DEFAULT_CONNECTIONS = 4


class Backend(StrEnum):
    """Who fetches the bytes of large files: qtool itself, or another program."""

    NATIVE = "native"
    ARIA2C = "aria2c"
    HF_TRANSFER = "hf_transfer"


@dataclass(frozen=True, slots=True)
class DownloadRequest:
    """A download. ``endpoints`` are tried in order; ``token`` is for the hub only.

    Among endpoints that nobody named (origin ``AUTOMATIC``) the fastest is chosen, and the order
    remembered in ``ranking_path`` if given. Others help where they hold the same content.

    The files go to ``cache_dir`` in the Hugging Face cache layout if given, else to ``local_dir``,
    else to ``./<name>``. ``connections`` None means automatic. ``is_forced`` fetches files anew
    that are there; ``is_verify_only`` hashes what is there and fetches nothing; ``is_repair``
    hashes and fetches what is wrong. With ``is_offline`` no hub is asked, which only a
    verification can do with. A folder is noted in ``registry_dir`` if given, to be found again.
    """

    repo: RepoRef
    endpoints: tuple[Endpoint, ...]
    selection: Selection = field(default_factory=Selection)
    local_dir: Path | None = None
    cache_dir: Path | None = None
    token: str | None = None
    connections: int | None = None
    max_files: int | None = None
    rate_limit_bytes_per_s: float | None = None
    is_dry_run: bool = False
    is_forced: bool = False
    is_verify_only: bool = False
    is_repair: bool = False
    is_offline: bool = False
    ranking_path: Path | None = None
    registry_dir: Path | None = None
    backend: Backend = Backend.NATIVE

    @property
    def is_choice_automatic(self) -> bool:
        """Return whether nobody named an endpoint."""
        return all(one.origin is EndpointOrigin.AUTOMATIC for one in self.endpoints)
