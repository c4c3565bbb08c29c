"""A download from request to result: list, plan, survey, transfer."""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from qtool.download.backends.staging import Staging
from qtool.download.collisions import check_case
from qtool.download.events import DownloadResult, Event, FileResult, FileStatus, OnEvent
from qtool.download.fetch import Fetch
from qtool.download.layout import Layout, check_folders, choose_layout
from qtool.download.lock import TargetLock
from qtool.download.manifest import Manifest
from qtool.download.plan import Plan, plan
from qtool.download.request import Backend, DownloadRequest
from qtool.download.survey import Surveyor, is_known
from qtool.errors import NetworkError, UsageError
from qtool.hub.choice import Choice, choose
from qtool.hub.client import ATTEMPTS, HubClient
from qtool.hub.connection import ConnectionPool
from qtool.hub.listing import list_repo
from qtool.hub.ranking import Ranking
from qtool.hub.repo import Listing, RemoteFile, RepoRef

if TYPE_CHECKING:
    from qtool.download.backends.fetch import ProgramFetch

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
# Silence for so long ends a connection; another one goes on.
STALL_TIMEOUT_S = 4.0


def download(
    request: DownloadRequest,
    *,
    on_event: OnEvent | None = None,
    stop: threading.Event | None = None,
) -> DownloadResult:
    """Bring the files of a repository to the target, verified.

    ``on_event`` is called on the calling thread. Files that fail do not keep others from
    finishing: look at ``failures`` of the result. Raises QtoolError when nothing can be done at
    all, KeyboardInterrupt when ``stop`` is set meanwhile; what has arrived is kept for next time.
    """
    started_at = time.monotonic()
    pool = ConnectionPool(connect_timeout_s=CONNECT_TIMEOUT_S, stall_timeout_s=STALL_TIMEOUT_S)
    try:
        run = _Run(request, pool, on_event or _ignore, stop or threading.Event())
        result = run.to_result()
    finally:
        pool.abort()  # also ends what endpoints that were not needed are still being asked
    return replace(result, seconds=time.monotonic() - started_at)


def list_on_first(clients: Sequence[HubClient], repo: RepoRef) -> Choice:
    """Return the listing of the first endpoint that answers, and the endpoints after it.

    Raises what the last one raised; only a NetworkError makes it go on to the next.
    """
    for index, client in enumerate(clients):
        try:
            return Choice(list_repo(client, repo), client, tuple(clients[index + 1 :]))
        except NetworkError as exc:
            if index == len(clients) - 1:
                raise
            log.debug("%s; trying the next endpoint", exc)
    raise UsageError("no endpoint is given", hint="--endpoint https://huggingface.co")


class _Run:
    """One download."""

    def __init__(
        self,
        request: DownloadRequest,
        pool: ConnectionPool,
        on_event: OnEvent,
        stop: threading.Event,
    ) -> None:
        self._request = request
        self._pool = pool
        self._on_event = on_event
        self._stop = stop

    def to_result(self) -> DownloadResult:
        """Do what the request says."""
        request = self._request
        if request.backend is not Backend.NATIVE and not request.is_verify_only:
            from qtool.download.backends.fetch import check_backend

            check_backend(request)
        choice = self._choose()
        listing = choice.listing
        wanted = plan(listing, request.selection)
        layout = choose_layout(listing, local_dir=request.local_dir, cache=request.cache_dir)
        result = _empty_result(listing, layout, wanted)
        if request.is_verify_only:
            surveyor = Surveyor(layout, None, listing.commit, self._on_event, self._stop)
            return replace(result, files=surveyor.verify(wanted.files))
        if request.is_dry_run:
            return replace(result, files=self._preview(wanted, layout))
        check_folders(layout)
        with TargetLock(layout.state_dir / "lock", layout.root):
            check_case(wanted.files, layout.state_dir)
            return self._bring(choice, wanted, layout, result)

    def _choose(self) -> Choice:
        request = self._request
        # Where there is another endpoint, it is the better second attempt.
        attempts = ATTEMPTS if len(request.endpoints) == 1 else 1
        clients = [
            HubClient(self._pool, endpoint, request.token, attempts=attempts)
            for endpoint in request.endpoints
        ]
        if request.is_choice_automatic and len(clients) > 1:
            return choose(clients, request.repo, self._ranking)
        return list_on_first(clients, request.repo)

    @property
    def _ranking(self) -> Ranking | None:
        path = self._request.ranking_path
        return Ranking(path) if path is not None else None

    def _bring(
        self, choice: Choice, wanted: Plan, layout: Layout, result: DownloadResult
    ) -> DownloadResult:
        listing = choice.listing
        manifest = Manifest(layout.state_dir / "manifest")
        present: tuple[FileResult, ...] = ()
        missing: Sequence[RemoteFile] = wanted.files
        if not self._request.is_forced:
            surveyor = Surveyor(layout, manifest, listing.commit, self._on_event, self._stop)
            present, missing = surveyor.survey(wanted.files)
        fetch = _fetcher(self._request, choice, layout, manifest, self._pool)
        fetched = fetch.run(missing, replace(result, files=present), self._on_event, self._stop)
        if fetch.dropped and self._ranking is not None:
            self._ranking.forget()
        by_path = {file.path: file for file in (*present, *fetched)}
        return replace(
            result,
            files=tuple(by_path[file.path] for file in wanted.files),
            bytes_transferred=sum(fetch.bytes_by_endpoint.values()),
            endpoints=fetch.bytes_by_endpoint,
            dropped=fetch.dropped,
        )

    def _preview(self, wanted: Plan, layout: Layout) -> tuple[FileResult, ...]:
        """Return what a run would do, without writing or hashing anything."""
        manifest = Manifest(layout.state_dir / "manifest")

        def status(file: RemoteFile) -> FileStatus:
            is_there = not self._request.is_forced and is_known(file, layout, manifest)
            return FileStatus.SKIPPED if is_there else FileStatus.PLANNED

        return tuple(FileResult.of(f, status(f)) for f in wanted.files)


def _fetcher(
    request: DownloadRequest,
    choice: Choice,
    layout: Layout,
    manifest: Manifest,
    pool: ConnectionPool,
) -> "Fetch | ProgramFetch":
    """Return who fetches: qtool itself, or with the program that the request names."""
    Staging(layout.state_dir, choice.listing, request.backend).remove_orphans()
    if request.backend is Backend.NATIVE:
        return Fetch(request, choice, layout, manifest, pool)
    from qtool.download.backends.fetch import ProgramFetch

    return ProgramFetch(request, choice, layout, manifest, pool)


def _empty_result(listing: Listing, layout: Layout, wanted: Plan) -> DownloadResult:
    repo = listing.repo
    return DownloadResult(
        repo.repo_id,
        repo.revision,
        listing.commit,
        layout.root,
        files=(),
        left_out=wanted.left_out,
        notes=wanted.notes,
    )


def _ignore(event: Event) -> None:
    """Take an event and do nothing."""
