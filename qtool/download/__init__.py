"""Downloads: verified to the last byte, resumed from any moment, as fast as the line allows.

>>> from qtool.download import DownloadRequest, download
>>> from qtool.hub.endpoints import Endpoint
>>> from qtool.hub.repo import RepoRef
>>> request = DownloadRequest(RepoRef("org/name"), (Endpoint("https://huggingface.co"),))
>>> result = download(request)  # doctest: +SKIP
"""

from qtool.download.events import (
    Asking,
    Checking,
    DownloadResult,
    EndpointDropped,
    Event,
    FileFinished,
    FileProgress,
    FileResult,
    FileStatus,
    Planned,
    Progress,
    Waiting,
)
from qtool.download.plan import Selection
from qtool.download.request import DownloadRequest
from qtool.download.run import download

__all__ = [
    "Asking",
    "Checking",
    "DownloadRequest",
    "DownloadResult",
    "EndpointDropped",
    "Event",
    "FileFinished",
    "FileProgress",
    "FileResult",
    "FileStatus",
    "Planned",
    "Progress",
    "Selection",
    "Waiting",
    "download",
]
