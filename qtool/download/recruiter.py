"""More sources for a download that runs already: endpoints that hold the same content."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from qtool.download.job import Job
from qtool.download.mirrors import Fleet, Mirror
from qtool.download.source import Source
from qtool.errors import NotFoundError, QtoolError
from qtool.hub.choice import Choice
from qtool.hub.client import HubClient
from qtool.hub.connection import AbortedError
from qtool.hub.endpoints import EndpointOrigin
from qtool.hub.listing import list_repo
from qtool.hub.repo import Listing, RemoteFile

log = logging.getLogger(__name__)

PATIENCE_S = 20.0
"""So long the last source's failure waits for a better one."""
_POLL_S = 0.1


class Recruiter:
    """Asks further endpoints for their listings, each in a thread of its own.

    Commits may differ; a file is shared when path, size and digest agree.
    """

    def __init__(
        self,
        choice: Choice,
        jobs: Sequence[Job],
        fleet: Fleet,
        as_mirror: Callable[[HubClient], Mirror],
        stop: threading.Event,
    ) -> None:
        self._stop = stop
        self._choice = choice
        self._listing = choice.listing
        self._jobs = jobs
        self._fleet = fleet
        self._mirrors = [as_mirror(client) for client in choice.others]
        self._n_left = len(self._mirrors)
        self._lock = threading.Lock()
        self._has_begun = False
        self._done = threading.Event()

    def start(self, *, is_urgent: bool) -> None:
        """Begin, at once or when a file has no source left.

        The jobs get their sources as the answers come.
        """
        if not self._mirrors:
            return
        for job in self._jobs:
            job.await_sources = self._wait
        if is_urgent:
            self._begin()

    def _begin(self) -> None:
        with self._lock:
            if self._has_begun:
                return
            self._has_begun = True
        for mirror in self._mirrors:
            threading.Thread(target=self._recruit, args=(mirror,), daemon=True).start()

    def _wait(self) -> None:
        self._begin()
        deadline_s = time.monotonic() + PATIENCE_S
        while not self._done.wait(_POLL_S):
            if self._stop.is_set() or time.monotonic() > deadline_s:
                return

    def _recruit(self, mirror: Mirror) -> None:
        try:
            known = self._choice.known.get(mirror.url)
            self._enlist(mirror, known or list_counterpart(mirror.client, self._listing))
        except AbortedError:
            log.debug("%s: stopped meanwhile", mirror.url)
        except QtoolError as exc:
            self._refuse(mirror, exc.message)
        finally:
            with self._lock:
                self._n_left -= 1
                if self._n_left == 0:
                    self._done.set()

    def _enlist(self, mirror: Mirror, listing: Listing) -> None:
        theirs = {file.path: file for file in listing.files}
        shared = [job for job in self._jobs if is_same(job.file, theirs)]
        log.debug("%s has %d of %d files", mirror.url, len(shared), len(self._jobs))
        if not shared:
            self._refuse(mirror, "it lists other content under the same names")
            return
        with self._lock:
            self._fleet.mirrors.append(mirror)
        for job in shared:
            job.add_source(Source(mirror, listing.repo, listing.commit, job.file))

    def _refuse(self, mirror: Mirror, reason: str) -> None:
        """Leave an endpoint out; that of one nobody named is nothing to tell the user."""
        if mirror.client.endpoint.origin is EndpointOrigin.AUTOMATIC:
            log.debug("%s is not used: %s", mirror.url, reason)
        else:
            mirror.drop(reason)


def is_same(file: RemoteFile, theirs: Mapping[str, RemoteFile]) -> bool:
    """Return whether another endpoint's listing has the same content under the same path."""
    other = theirs.get(file.path)
    if other is None or other.size_bytes != file.size_bytes or file.digest is None:
        return False
    return (other.sha256, other.git_sha1) == (file.sha256, file.git_sha1)


def list_counterpart(client: HubClient, listing: Listing) -> Listing:
    """Return an endpoint's listing of the same commit, else of the same revision.

    Raises QtoolError when it has neither.
    """
    try:
        return list_repo(client, replace(listing.repo, revision=listing.commit))
    except NotFoundError:
        return list_repo(client, listing.repo)
