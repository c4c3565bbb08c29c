"""A download from request to result: list, plan, survey, transfer."""

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qtool.download.backends.staging import Staging
from qtool.download.collisions import check_case
from qtool.download.damage import Damage, DamageKind
from qtool.download.disk import disk_errors
from qtool.download.edited import keep_edited
from qtool.download.events import Asking, DownloadResult, Event, FileResult, FileStatus, OnEvent
from qtool.download.fetch import Fetch
from qtool.download.layout import Layout, check_folders, choose_layout, place_of
from qtool.download.plan import Plan, Selection, plan, plan_check, plan_recorded
from qtool.download.quant_choice import AskQuant, settle_quant
from qtool.download.recorded import recorded_listing
from qtool.download.registry import Registry
from qtool.download.repair import Salvager
from qtool.download.request import Backend, DownloadRequest
from qtool.download.survey import Surveyor
from qtool.download.target import Target
from qtool.download.verify import Verifier, extra_files
from qtool.errors import NetworkError, NotFoundError
from qtool.hub.choice import Choice, choose, list_on_first
from qtool.hub.client import ATTEMPTS, HubClient
from qtool.hub.connection import ConnectionPool
from qtool.hub.other_kind import explained
from qtool.hub.ranking import Ranking
from qtool.hub.repo import Listing, RemoteFile
from qtool.locks import ProcessLock

if TYPE_CHECKING:
    from qtool.download.backends.fetch import ProgramFetch

CONNECT_TIMEOUT_S = 10.0
# Silence for so long ends a connection; another one goes on.
STALL_TIMEOUT_S = 4.0
_RECORDED = "compared with what qtool recorded when it fetched the files"


def download(
    request: DownloadRequest,
    *,
    on_event: OnEvent | None = None,
    stop: threading.Event | None = None,
    ask_quant: AskQuant | None = None,
) -> DownloadResult:
    """Bring the files of a repository to the target, verified.

    ``on_event`` is called on the calling thread, as is ``ask_quant``, where a GGUF repository holds
    several quantizations and the request names none of them; without it the usual one is taken.
    Files that fail do not keep others from finishing: look at ``failures`` of the result. Raises
    QtoolError when nothing can be done at all, KeyboardInterrupt when ``stop`` is set meanwhile;
    what has arrived is kept for next time.
    """
    started_at = time.monotonic()
    pool = ConnectionPool(connect_timeout_s=CONNECT_TIMEOUT_S, stall_timeout_s=STALL_TIMEOUT_S)
    try:
        run = _Run(request, pool, on_event or _ignore, stop or threading.Event(), ask_quant)
        result = run.to_result()
    finally:
        pool.abort()  # also ends what endpoints that were not needed are still being asked
    return replace(result, seconds=time.monotonic() - started_at)


@dataclass(frozen=True, slots=True)
class _Errand:
    """What the steps of a download share once the hub has answered."""

    choice: Choice
    wanted: Plan
    target: Target
    salvager: Salvager


class _Run:
    """One download."""

    def __init__(
        self,
        request: DownloadRequest,
        pool: ConnectionPool,
        on_event: OnEvent,
        stop: threading.Event,
        ask_quant: AskQuant | None,
    ) -> None:
        self._ask_quant = ask_quant
        self._request = request
        self._pool = pool
        self._on_event = on_event
        self._stop = stop

    def to_result(self) -> DownloadResult:
        """Do what the request says."""
        request = self._request
        if request.is_verify_only:
            return self._verify()
        if request.backend is not Backend.NATIVE:
            from qtool.download.backends.programs import check_backend

            check_backend(request)
        choice = self._choose()
        listing = choice.listing
        layout = self._layout(listing)
        if request.is_repair:
            wanted = _plan_check(listing, request.selection, layout)
        else:
            wanted = plan(listing, settle_quant(listing, request.selection, self._ask_quant))
        if request.is_dry_run:
            result = _empty_result(listing, layout, wanted)
            return replace(result, files=self._preview(wanted, Target.open(listing, layout)))
        check_folders(layout, wanted.files)
        with _locked(layout):
            check_case(wanted.files, layout.state_dir)
            self._register(layout)
            target = Target.open(listing, layout)
            errand = _Errand(choice, wanted, target, Salvager(target))
            return self._repair(errand) if request.is_repair else self._bring(errand)

    def _choose(self) -> Choice:
        request = self._request
        self._on_event(Asking(tuple(endpoint.url for endpoint in request.endpoints)))
        # Where there is another endpoint, it is the better second attempt.
        attempts = ATTEMPTS if len(request.endpoints) == 1 else 1
        clients = [
            HubClient(self._pool, endpoint, request.token, attempts=attempts)
            for endpoint in request.endpoints
        ]
        try:
            if request.is_choice_automatic and len(clients) > 1:
                return choose(clients, request.repo, self._ranking)
            return list_on_first(clients, request.repo)
        except NotFoundError as exc:
            raise explained(exc, clients[0], request.repo) from exc

    @property
    def _ranking(self) -> Ranking | None:
        path = self._request.ranking_path
        return Ranking(path) if path is not None else None

    def _register(self, layout: Layout) -> None:
        request = self._request
        if request.registry_dir is not None and request.cache_dir is None:
            Registry(request.registry_dir).note(layout.root, request.repo)

    def _layout(self, listing: Listing) -> Layout:
        request = self._request
        return choose_layout(listing, local_dir=request.local_dir, cache=request.cache_dir)

    def _verify(self) -> DownloadResult:
        """Compare what is there with the hub, or without one with what was recorded."""
        listing, notes = self._reference()
        selection = self._request.selection
        layout = self._layout(listing)
        if notes:
            wanted = plan_recorded(listing, selection)
        else:
            wanted = _plan_check(listing, selection, layout)
        verifier = Verifier(Target.open(listing, layout), self._on_event, self._stop)
        return replace(
            _empty_result(listing, layout, wanted),
            files=tuple(verifier.verify(wanted.files)),
            notes=notes or wanted.notes,
            extra=extra_files(layout.root, {file.path for file in listing.files}),
        )

    def _reference(self) -> tuple[Listing, tuple[str, ...]]:
        """Return what to compare with, and a note when it is not a hub's listing."""
        repo = self._request.repo
        if self._request.is_offline:
            return recorded_listing(repo, self._layout), (f"offline: {_RECORDED}",)
        try:
            return self._choose().listing, ()
        except NetworkError as exc:
            try:
                return recorded_listing(repo, self._layout), (f"no hub answers: {_RECORDED}",)
            except NotFoundError:
                raise exc from None

    def _bring(self, errand: _Errand) -> DownloadResult:
        """Fetch what is missing."""
        if self._request.is_forced:
            return self._fetch(errand, (), errand.wanted.files)
        surveyor = Surveyor(errand.target, self._on_event, self._stop)
        present, missing = surveyor.survey(errand.wanted.files)
        errand = self._with_edited_kept(errand, missing)
        if self._request.backend is Backend.NATIVE:
            for file in missing:
                errand.salvager.reuse(file, self._stop)
        return self._fetch(errand, present, missing)

    def _with_edited_kept(self, errand: _Errand, files: Iterable[RemoteFile]) -> _Errand:
        """Keep what somebody has changed of ``files``; note in the plan what is replaced."""
        verifier = Verifier(errand.target, self._on_event, self._stop)
        notes = keep_edited(errand.target, verifier, files)
        wanted = replace(errand.wanted, notes=(*errand.wanted.notes, *notes))
        return replace(errand, wanted=wanted)

    def _repair(self, errand: _Errand) -> DownloadResult:
        """Read everything that is there and fetch what is wrong of it."""
        verifier = Verifier(errand.target, self._on_event, self._stop)
        surveyor = Surveyor(errand.target, self._on_event, self._stop)
        present, wrong = [], {}
        wanted = errand.wanted.files
        for file, checked in zip(wanted, verifier.verify(wanted), strict=True):
            damage = checked.damage
            if damage is not None and damage.needs_content:
                wrong[file] = damage
                continue
            if damage is not None or checked.error is None:
                surveyor.keep(file)
            present.append(
                checked
                if damage is None
                else _as_repaired(FileResult.of(file, FileStatus.VERIFIED), damage)
            )
        errand.salvager.prepare(wrong, self._stop)
        result = self._fetch(errand, present, list(wrong))
        damages = {file.path: damage for file, damage in wrong.items()}
        files = tuple(_as_repaired(file, damages.get(file.path)) for file in result.files)
        return replace(result, files=files)

    def _fetch(
        self, errand: _Errand, present: Sequence[FileResult], missing: Sequence[RemoteFile]
    ) -> DownloadResult:
        target, wanted, salvager = errand.target, errand.wanted, errand.salvager
        known = replace(_empty_result(target.listing, target.layout, wanted), files=tuple(present))
        fetch = _fetcher(self._request, errand.choice, target, self._pool)
        fetched = fetch.run(missing, known, self._on_event, self._stop)
        if fetch.dropped and self._ranking is not None:
            self._ranking.forget()
        by_path = {file.path: file for file in (*present, *fetched)}
        files = tuple(by_path[file.path] for file in wanted.files)
        salvager.tidy(files)
        return replace(
            known,
            files=files,
            notes=(*known.notes, *salvager.kept(files)),
            bytes_transferred=sum(fetch.bytes_by_endpoint.values()),
            endpoints=fetch.bytes_by_endpoint,
            dropped=fetch.dropped,
        )

    def _preview(self, wanted: Plan, target: Target) -> tuple[FileResult, ...]:
        """Return what a run would do, without writing or hashing anything."""

        def status(file: RemoteFile) -> FileStatus:
            is_there = not self._request.is_forced and target.is_known(file)
            return FileStatus.SKIPPED if is_there else FileStatus.PLANNED

        return tuple(FileResult.of(f, status(f)) for f in wanted.files)


def _fetcher(
    request: DownloadRequest, choice: Choice, target: Target, pool: ConnectionPool
) -> "Fetch | ProgramFetch":
    """Return who fetches: qtool itself, or with the program that the request names.

    A repair is for qtool itself: it asks for single ranges, which the programs do not do.
    """
    backend = Backend.NATIVE if request.is_repair else request.backend
    Staging(target.layout.state_dir, target.listing, backend).remove_orphans()
    if backend is Backend.NATIVE:
        return Fetch(request, choice, target, pool)
    from qtool.download.backends.fetch import ProgramFetch

    return ProgramFetch(request, choice, target, pool)


@contextlib.contextmanager
def _locked(layout: Layout) -> Iterator[None]:
    """Keep other qtools off a target. Raises ResourceError when one is at work on it."""
    with contextlib.ExitStack() as stack:
        with disk_errors(layout.state_dir):
            work = f"downloading into {layout.root}"
            stack.enter_context(ProcessLock(layout.state_dir / "lock", work))
        yield


def _plan_check(listing: Listing, selection: Selection, layout: Layout) -> Plan:
    return plan_check(listing, selection, lambda file: place_of(file, layout).exists())


def _as_repaired(result: FileResult, damage: Damage | None) -> FileResult:
    """Return the outcome of a fetched file, with what was wrong with it before."""
    if damage is None:
        return result
    if result.error is not None or damage.kind is DamageKind.MISSING:
        return replace(result, damage=damage)
    return replace(result, status=FileStatus.REPAIRED, damage=damage)


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
